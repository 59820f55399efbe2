"""The tensorized LSTM and RNN (He et al., NIPS 2017), and what they are made of."""

from tlstm_jax.cells.tensorized.lstm import TensorizedLSTM
from tlstm_jax.cells.tensorized.rnn import TensorizedRNN

__all__ = ["TensorizedLSTM", "TensorizedRNN"]

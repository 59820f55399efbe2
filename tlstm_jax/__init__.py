"""Recurrent networks in JAX, centred on the tensorized LSTM (He et al., NIPS 2017)."""

from tlstm_jax.cells.elman import Elman
from tlstm_jax.cells.gru import GRU, ResetBeforeGRU
from tlstm_jax.cells.lstm import LSTM
from tlstm_jax.cells.tensorized import TensorizedLSTM
from tlstm_jax.cells.tensorized_rnn import TensorizedRNN
from tlstm_jax.generate import generate
from tlstm_jax.models.sequence import as_sequence
from tlstm_jax.models.stacked import Stacked
from tlstm_jax.network import Network
from tlstm_jax.unroll import unroll

__version__ = "0.1.0"
REPOSITORY_URL = None  # unset: the one place for it

__all__ = [
    "GRU",
    "LSTM",
    "Elman",
    "Network",
    "ResetBeforeGRU",
    "Stacked",
    "TensorizedLSTM",
    "TensorizedRNN",
    "as_sequence",
    "generate",
    "unroll",
]

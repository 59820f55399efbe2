"""Cells: one family, one file, with its paper's equations; and wrappers that are cells."""

from tlstm_jax.cells.conv_lstm import ConvLSTM
from tlstm_jax.cells.elman import Elman
from tlstm_jax.cells.fast_slow_lstm import FastSlowLSTM
from tlstm_jax.cells.fast_weights import FastWeights
from tlstm_jax.cells.fast_weights_1992 import FastWeights1992
from tlstm_jax.cells.gated_feedback import GatedFeedback
from tlstm_jax.cells.grid_lstm import GridLSTM
from tlstm_jax.cells.gru import GRU, ResetBeforeGRU
from tlstm_jax.cells.hm_lstm import HMLSTM
from tlstm_jax.cells.hyper_lstm import HyperLSTM
from tlstm_jax.cells.irnn import IRNN
from tlstm_jax.cells.layer_norm_lstm import LayerNormLSTM
from tlstm_jax.cells.lstm import LSTM, LSTM1997
from tlstm_jax.cells.mi_lstm import MILSTM
from tlstm_jax.cells.multiplicative_lstm import MultiplicativeLSTM
from tlstm_jax.cells.multiplicative_rnn import MultiplicativeRNN
from tlstm_jax.cells.mut import MUT
from tlstm_jax.cells.para import ParaGRU, ParaLSTM
from tlstm_jax.cells.peephole_lstm import PeepholeLSTM
from tlstm_jax.cells.recurrent_dropout import RecurrentDropout
from tlstm_jax.cells.rhn import RHN
from tlstm_jax.cells.row_lstm import RowLSTM
from tlstm_jax.cells.skip_rnn import SkipRNN
from tlstm_jax.cells.slstm import SLSTM
from tlstm_jax.cells.sru import SRUCell
from tlstm_jax.cells.tensorized import TensorizedLSTM, TensorizedRNN
from tlstm_jax.cells.tt_lstm import TTLSTM
from tlstm_jax.cells.unitary import FullCapacityURNN, UnitaryRNN
from tlstm_jax.cells.zoneout import Zoneout

__all__ = [
    "GRU",
    "HMLSTM",
    "IRNN",
    "LSTM",
    "LSTM1997",
    "MILSTM",
    "MUT",
    "RHN",
    "SLSTM",
    "TTLSTM",
    "ConvLSTM",
    "Elman",
    "FastSlowLSTM",
    "FastWeights",
    "FastWeights1992",
    "FullCapacityURNN",
    "GatedFeedback",
    "GridLSTM",
    "HyperLSTM",
    "LayerNormLSTM",
    "MultiplicativeLSTM",
    "MultiplicativeRNN",
    "ParaGRU",
    "ParaLSTM",
    "PeepholeLSTM",
    "RecurrentDropout",
    "ResetBeforeGRU",
    "RowLSTM",
    "SRUCell",
    "SkipRNN",
    "TensorizedLSTM",
    "TensorizedRNN",
    "UnitaryRNN",
    "Zoneout",
]

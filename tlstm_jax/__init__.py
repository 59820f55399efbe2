"""Recurrent networks in JAX, centred on the tensorized LSTM (He et al., NIPS 2017)."""

from tlstm_jax import zoo
from tlstm_jax.cells.elman import Elman
from tlstm_jax.cells.fast_slow_lstm import FastSlowLSTM
from tlstm_jax.cells.grid_lstm import GridLSTM
from tlstm_jax.cells.gru import GRU, ResetBeforeGRU
from tlstm_jax.cells.hm_lstm import HMLSTM
from tlstm_jax.cells.hyper_lstm import HyperLSTM
from tlstm_jax.cells.irnn import IRNN
from tlstm_jax.cells.layer_norm_lstm import LayerNormLSTM
from tlstm_jax.cells.lstm import LSTM, LSTM1997
from tlstm_jax.cells.mi_lstm import MILSTM
from tlstm_jax.cells.multiplicative_lstm import MultiplicativeLSTM
from tlstm_jax.cells.mut import MUT
from tlstm_jax.cells.peephole_lstm import PeepholeLSTM
from tlstm_jax.cells.recurrent_dropout import RecurrentDropout
from tlstm_jax.cells.rhn import RHN
from tlstm_jax.cells.skip_rnn import SkipRNN
from tlstm_jax.cells.sru import SRUCell
from tlstm_jax.cells.tensorized import TensorizedLSTM
from tlstm_jax.cells.tensorized_rnn import TensorizedRNN
from tlstm_jax.cells.unitary import FullCapacityURNN, UnitaryRNN
from tlstm_jax.cells.zoneout import Zoneout
from tlstm_jax.generate import generate
from tlstm_jax.models.annealed_hm_lstm import AnnealedHMLSTM
from tlstm_jax.models.batch_norm_lstm import BatchNormLSTM
from tlstm_jax.models.bidirectional import Bidirectional
from tlstm_jax.models.chain import Chain
from tlstm_jax.models.dilated import Dilated, dilated_stack
from tlstm_jax.models.dropout import Dropout
from tlstm_jax.models.learned_carry import LearnedCarry
from tlstm_jax.models.qrnn import QRNN
from tlstm_jax.models.residual import Residual
from tlstm_jax.models.sequence import as_sequence, last_output
from tlstm_jax.models.sru import SRU
from tlstm_jax.models.stacked import Stacked
from tlstm_jax.models.wavenet import WaveNet
from tlstm_jax.network import Network
from tlstm_jax.unroll import unroll

__version__ = "0.1.0"
REPOSITORY_URL = "https://github.com/tlstm-jax/tlstm-jax"  # the one place for it

__all__ = [
    "GRU",
    "HMLSTM",
    "IRNN",
    "LSTM",
    "LSTM1997",
    "MILSTM",
    "MUT",
    "QRNN",
    "RHN",
    "SRU",
    "AnnealedHMLSTM",
    "BatchNormLSTM",
    "Bidirectional",
    "Chain",
    "Dilated",
    "Dropout",
    "Elman",
    "FastSlowLSTM",
    "FullCapacityURNN",
    "GridLSTM",
    "HyperLSTM",
    "LayerNormLSTM",
    "LearnedCarry",
    "MultiplicativeLSTM",
    "Network",
    "PeepholeLSTM",
    "RecurrentDropout",
    "ResetBeforeGRU",
    "Residual",
    "SRUCell",
    "SkipRNN",
    "Stacked",
    "TensorizedLSTM",
    "TensorizedRNN",
    "UnitaryRNN",
    "WaveNet",
    "Zoneout",
    "as_sequence",
    "dilated_stack",
    "generate",
    "last_output",
    "unroll",
    "zoo",
]

"""Models: more than one cell in time, and wrappers of any of them."""

from tlstm_jax.models.adaptive_computation import AdaptiveComputation
from tlstm_jax.models.annealed_hm_lstm import AnnealedHMLSTM
from tlstm_jax.models.batch_norm_lstm import BatchNormLSTM
from tlstm_jax.models.bidirectional import Bidirectional
from tlstm_jax.models.block import Block
from tlstm_jax.models.chain import Chain
from tlstm_jax.models.delta_net import DeltaNet
from tlstm_jax.models.dilated import Dilated, dilated_stack
from tlstm_jax.models.dropout import Dropout
from tlstm_jax.models.extended_neural_gpu import ExtendedNeuralGPU
from tlstm_jax.models.gla import GLA
from tlstm_jax.models.hgrn2 import HGRN2
from tlstm_jax.models.learned_carry import LearnedCarry
from tlstm_jax.models.lru import LRU
from tlstm_jax.models.mamba import Mamba
from tlstm_jax.models.mamba2 import Mamba2
from tlstm_jax.models.matrix_lstm import MatrixLSTM
from tlstm_jax.models.min_gru import MinGRU
from tlstm_jax.models.min_lstm import MinLSTM
from tlstm_jax.models.multidimensional_lstm import MultidimensionalLSTM
from tlstm_jax.models.neural_gpu import NeuralGPU
from tlstm_jax.models.pyramid_lstm import PyramidLSTM
from tlstm_jax.models.qrnn import QRNN
from tlstm_jax.models.residual import Residual
from tlstm_jax.models.retnet import RetNet
from tlstm_jax.models.rg_lru import RGLRU
from tlstm_jax.models.rwkv7 import RWKV7
from tlstm_jax.models.s4d import S4D
from tlstm_jax.models.s5 import S5
from tlstm_jax.models.sequence import as_sequence, last_output
from tlstm_jax.models.skip_connections import SkipConnections
from tlstm_jax.models.sru import SRU
from tlstm_jax.models.stacked import Stacked
from tlstm_jax.models.wavenet import WaveNet

__all__ = [
    "GLA",
    "HGRN2",
    "LRU",
    "QRNN",
    "RGLRU",
    "RWKV7",
    "S4D",
    "S5",
    "SRU",
    "AdaptiveComputation",
    "AnnealedHMLSTM",
    "BatchNormLSTM",
    "Bidirectional",
    "Block",
    "Chain",
    "DeltaNet",
    "Dilated",
    "Dropout",
    "ExtendedNeuralGPU",
    "LearnedCarry",
    "Mamba",
    "Mamba2",
    "MatrixLSTM",
    "MinGRU",
    "MinLSTM",
    "MultidimensionalLSTM",
    "NeuralGPU",
    "PyramidLSTM",
    "Residual",
    "RetNet",
    "SkipConnections",
    "Stacked",
    "WaveNet",
    "as_sequence",
    "dilated_stack",
    "last_output",
]

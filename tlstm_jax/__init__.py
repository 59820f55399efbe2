"""Recurrent networks in JAX, centred on the tensorized LSTM (He et al., NIPS 2017)."""

from tlstm_jax import zoo
from tlstm_jax.cells import (
    GRU,
    HMLSTM,
    IRNN,
    LSTM,
    LSTM1997,
    MILSTM,
    MUT,
    RHN,
    Elman,
    FastSlowLSTM,
    FullCapacityURNN,
    GridLSTM,
    HyperLSTM,
    LayerNormLSTM,
    MultiplicativeLSTM,
    PeepholeLSTM,
    RecurrentDropout,
    ResetBeforeGRU,
    SkipRNN,
    SRUCell,
    TensorizedLSTM,
    TensorizedRNN,
    UnitaryRNN,
    Zoneout,
)
from tlstm_jax.checkout import find_beside
from tlstm_jax.generation import generate
from tlstm_jax.models import (
    QRNN,
    SRU,
    AnnealedHMLSTM,
    BatchNormLSTM,
    Bidirectional,
    Chain,
    Dilated,
    Dropout,
    LearnedCarry,
    Residual,
    Stacked,
    WaveNet,
    as_sequence,
    dilated_stack,
    last_output,
)
from tlstm_jax.network import Network
from tlstm_jax.recurrence import unroll
from tlstm_jax.sweeps import sweep
from tlstm_jax.training import TrainSettings, fit
from tlstm_jax.zoo import make_model

__version__ = "0.1.0"
REPOSITORY_URL = "https://github.com/tlstm-jax/tlstm-jax"  # the one place for it


find_beside()

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
    "TrainSettings",
    "UnitaryRNN",
    "WaveNet",
    "Zoneout",
    "as_sequence",
    "dilated_stack",
    "fit",
    "generate",
    "last_output",
    "make_model",
    "sweep",
    "unroll",
    "zoo",
]

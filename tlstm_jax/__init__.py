"""Recurrent networks in JAX, centred on the tensorized LSTM (He et al., NIPS 2017).

A training yields a report after every compiled call; `keep_best` keeps the best parameters:

    task = memorization(num_symbols=5, alphabet_size=8)  # of tlstm_jax.tasks.memorization
    cell = TensorizedLSTM(60, (3,), normalization="channel", input_scale=1.0)
    network = Network(cell, task.input_size, task.output_size, tokens=True)
    best = None
    for report in fit(network, task, TrainSettings(num_steps=600)):
        best = keep_best(best, report)
    best.params, best.valid["accuracy"]
"""

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
    TTLSTM,
    ConvLSTM,
    Elman,
    FastSlowLSTM,
    FastWeights,
    FastWeights1992,
    FullCapacityURNN,
    GatedFeedback,
    GridLSTM,
    HyperLSTM,
    LayerNormLSTM,
    MultiplicativeLSTM,
    MultiplicativeRNN,
    PeepholeLSTM,
    RecurrentDropout,
    ResetBeforeGRU,
    RowLSTM,
    SkipRNN,
    SRUCell,
    TensorizedLSTM,
    TensorizedRNN,
    UnitaryRNN,
    Zoneout,
)
from tlstm_jax.checkout import find_beside
from tlstm_jax.generation import generate, generate_rows
from tlstm_jax.models import (
    GLA,
    HGRN2,
    LRU,
    QRNN,
    RWKV7,
    SRU,
    AdaptiveComputation,
    AnnealedHMLSTM,
    BatchNormLSTM,
    Bidirectional,
    Chain,
    DeltaNet,
    Dilated,
    Dropout,
    ExtendedNeuralGPU,
    LearnedCarry,
    Mamba2,
    MatrixLSTM,
    MinGRU,
    MinLSTM,
    MultidimensionalLSTM,
    NeuralGPU,
    PyramidLSTM,
    Residual,
    RetNet,
    SkipConnections,
    Stacked,
    WaveNet,
    as_sequence,
    dilated_stack,
    last_output,
)
from tlstm_jax.network import Network
from tlstm_jax.recurrence import unroll
from tlstm_jax.sweeps import sweep
from tlstm_jax.training import TrainSettings, fit, keep_best
from tlstm_jax.zoo import make_model

__version__ = "0.1.0"
REPOSITORY_URL = "https://github.com/tlstm-jax/tlstm-jax"  # the one place for it


find_beside()

__all__ = [
    "GLA",
    "GRU",
    "HGRN2",
    "HMLSTM",
    "IRNN",
    "LRU",
    "LSTM",
    "LSTM1997",
    "MILSTM",
    "MUT",
    "QRNN",
    "RHN",
    "RWKV7",
    "SRU",
    "TTLSTM",
    "AdaptiveComputation",
    "AnnealedHMLSTM",
    "BatchNormLSTM",
    "Bidirectional",
    "Chain",
    "ConvLSTM",
    "DeltaNet",
    "Dilated",
    "Dropout",
    "Elman",
    "ExtendedNeuralGPU",
    "FastSlowLSTM",
    "FastWeights",
    "FastWeights1992",
    "FullCapacityURNN",
    "GatedFeedback",
    "GridLSTM",
    "HyperLSTM",
    "LayerNormLSTM",
    "LearnedCarry",
    "Mamba2",
    "MatrixLSTM",
    "MinGRU",
    "MinLSTM",
    "MultidimensionalLSTM",
    "MultiplicativeLSTM",
    "MultiplicativeRNN",
    "Network",
    "NeuralGPU",
    "PeepholeLSTM",
    "PyramidLSTM",
    "RecurrentDropout",
    "ResetBeforeGRU",
    "Residual",
    "RetNet",
    "RowLSTM",
    "SRUCell",
    "SkipConnections",
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
    "generate_rows",
    "keep_best",
    "last_output",
    "make_model",
    "sweep",
    "unroll",
    "zoo",
]

"""The zoo's numbers of parameters, and sweeps over their initialization."""

import dataclasses
import math
import re

import jax
import jax.numpy as jnp
import pytest
from cases import assert_close, jit
from model_cases import with_parameters

from tlstm_jax.cells.conv_lstm import ConvLSTM
from tlstm_jax.cells.fast_slow_lstm import FastSlowLSTM
from tlstm_jax.cells.fast_weights import FastWeights
from tlstm_jax.cells.fast_weights_1992 import FastWeights1992
from tlstm_jax.cells.gated_feedback import GatedFeedback
from tlstm_jax.cells.grid_lstm import GridLSTM
from tlstm_jax.cells.hm_lstm import HMLSTM
from tlstm_jax.cells.hyper_lstm import HyperLSTM
from tlstm_jax.cells.irnn import IRNN
from tlstm_jax.cells.layer_norm_lstm import GateNormLSTM, LayerNormLSTM
from tlstm_jax.cells.lstm import LSTM1997
from tlstm_jax.cells.mi_lstm import MILSTM
from tlstm_jax.cells.multiplicative_lstm import MultiplicativeLSTM
from tlstm_jax.cells.multiplicative_rnn import MultiplicativeRNN
from tlstm_jax.cells.mut import MUT
from tlstm_jax.cells.para import ParaGRU, ParaLSTM
from tlstm_jax.cells.peephole_lstm import PeepholeLSTM
from tlstm_jax.cells.rhn import RHN
from tlstm_jax.cells.row_lstm import RowLSTM
from tlstm_jax.cells.shapes import spatial_shape
from tlstm_jax.cells.skip_rnn import SkipRNN
from tlstm_jax.cells.slstm import SLSTM
from tlstm_jax.cells.sru import SRUCell
from tlstm_jax.cells.tt_lstm import TTLSTM
from tlstm_jax.cells.unitary import FullCapacityURNN, UnitaryRNN
from tlstm_jax.models.delta_net import DeltaNet
from tlstm_jax.models.extended_neural_gpu import ExtendedNeuralGPU
from tlstm_jax.models.gla import GLA
from tlstm_jax.models.hgrn2 import HGRN2
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
from tlstm_jax.models.retnet import RetNet
from tlstm_jax.models.rg_lru import RGLRU
from tlstm_jax.models.rwkv7 import RWKV7
from tlstm_jax.models.s4d import S4D
from tlstm_jax.models.s5 import S5
from tlstm_jax.models.sequence import as_sequence
from tlstm_jax.models.sru import SRU
from tlstm_jax.models.wavenet import WaveNet
from tlstm_jax.overrides import override

M, N, E, S, L, J = 6, 4, 3, 5, 3, 7  # J inputs


def name_of(value):
    return type(value).__name__ if dataclasses.is_dataclass(value) else ""


FLOATS = [
    (MILSTM(M), {"alpha": 2.0, "beta": 0.1, "forget_bias": 3.0}),
    (RHN(M, depth=2), {"transform_bias": -4.0, "input_scale": 0.5}),
    (
        HyperLSTM(M, hyper_features=4, embedding_features=2),
        {"forget_bias": 2.0, "input_scale": 0.5, "bias_scale": 0.2},
    ),
    (FastSlowLSTM(M), {"forget_bias": 2.0, "input_scale": 0.5, "bias_scale": 0.2}),
    (PeepholeLSTM(M), {"peephole_scale": 0.5}),
    (ConvLSTM(M, peepholes=True), {"peephole_scale": 0.5, "input_scale": 0.1}),
    (IRNN(M), {"recurrent_scale": 0.5, "input_scale": 0.1}),
    (PyramidLSTM(M), {"forget_bias": 2.0, "input_scale": 0.5}),
    (SRUCell(M), {"input_scale": 0.5}),
    (FullCapacityURNN(2 * M), {"input_scale": 0.5}),
    (MultidimensionalLSTM(M), {"forget_bias": 1.0, "input_scale": 0.5}),
    (QRNN(M), {"forget_bias": 1.0, "input_scale": 0.5}),
    (NeuralGPU(M, relaxation=2), {"gate_bias": 0.5, "input_scale": 0.5}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "floats"), FLOATS, ids=name_of)
def test_overrides_replace_initial_settings_under_vmap(model, floats):
    def init(model):
        return as_sequence(model).init(jax.random.key(0), J)[0]

    pairs = {name: jnp.array([value, 0.25]) for name, value in floats.items()}
    swept = jit(jax.vmap(lambda floats: init(override(model, floats))))(pairs)
    for n, values in enumerate([floats, dict.fromkeys(floats, 0.25)]):
        expected = jit(init, static_argnums=0)(dataclasses.replace(model, **values))
        assert_close(jax.tree.map(lambda x: x[n], swept), expected, 1e-6)  # noqa: B023


def test_a_sweep_decomposes_one_matrix_at_a_time():
    # Many batched decompositions in one program can deadlock, all of XLA's threads on a CPU
    # waiting.
    keys = jax.random.split(jax.random.key(0), 7)
    program = jax.make_jaxpr(jax.vmap(lambda key: HMLSTM(5).init(key, 4)))(keys)
    decomposed = re.findall(r":f32\[(\S+)\] \S+ = qr\[", str(program))
    assert decomposed and set(decomposed) == {"5,5"}


def lstm(size, features):
    return 4 * features * (size + features + 1)


def norm_lstm(size, features):
    return lstm(size, features) + 18 * features


COUNTS = [
    (LSTM1997(M), 3 * M * (J + M + 1)),
    (PeepholeLSTM(M), lstm(J, M) + 3 * M),
    (ConvLSTM(M, spatial_shape=(3, 4)), 9 * 4 * M * (J + M) + 4 * M),
    (
        ConvLSTM(M, spatial_shape=(8,), kernel_size=5, peepholes=True),
        5 * 4 * M * (J + M) + 4 * M + 3 * 8 * M,
    ),
    (IRNN(M), M * (J + M + 1)),
    *(
        (RowLSTM(M, spatial_shape=(8,), mask=mask), 4 * M * (taps * J + 3 * M + 1))
        for mask, taps in (("A", 1), ("B", 2), ("none", 3))
    ),
    (
        RowLSTM(M, spatial_shape=(8,), mask="A", kernel_size=5, input_kernel_size=7),
        4 * M * (3 * J + 5 * M + 1),
    ),
    (PyramidLSTM(M, hidden=N), 2 * lstm(J, N) + M * (N + 1)),
    (
        PyramidLSTM(M, spatial_shape=(8, 9), kernel_size=5),
        6 * 4 * M * (25 * (J + M) + 1) + M * (M + 1),
    ),
    (LayerNormLSTM(M), norm_lstm(J, M)),
    (GateNormLSTM(M), lstm(J, M) + 10 * M),
    (MILSTM(M), lstm(J, M) + 12 * M),
    (MultiplicativeLSTM(M), lstm(J, M) + M * (J + M)),
    (FastWeights(M, inner_steps=3), M * (J + M + 3)),
    (FastWeights1992(M), 3 * M * (J + 1)),
    (FastWeights1992(M, query_features=N), (2 * N + M) * (J + 1)),
    (MultiplicativeRNN(M), M * (2 * J + 2 * M + 1)),
    (MultiplicativeRNN(M, factors=2 * M), M * (3 * J + 4 * M + 1)),
    (TTLSTM(M), 4 * (4 * 1 + 4 * 2 + 7 * 3) + 4 * (4 + 4 * 4 + 9) + 4 * M),
    (MUT(M, variant=1), 3 * J * M + 2 * M * M + 3 * M),
    (MUT(M, variant=2), 3 * M * (J + M + 1)),
    (MUT(M, variant=3), 3 * M * (J + M + 1)),
    (SkipRNN(M), M * (J + 2 * M + 1)),
    (RHN(M, depth=L), 2 * J * M + L * 2 * M * (M + 1)),
    (
        HyperLSTM(M, hyper_features=N, embedding_features=E),
        lstm(J, M) + 10 * M + 4 * N * (M + J + N + 1) + 10 * N + 3 * N * 4 * E + 8 * E + 12 * E * M,
    ),
    (
        FastSlowLSTM(M, slow_features=S, num_fast=4),
        norm_lstm(J, M) + norm_lstm(M, S) + norm_lstm(S, M) + 2 * (lstm(0, M) + 10 * M),
    ),
    (GridLSTM(M, num_layers=L), 2 * M * (J + 1) + L * 2 * lstm(M, M)),
    (GridLSTM(M, num_layers=L, tied=True), 2 * M * (J + 1) + 2 * lstm(M, M)),
    *(
        (
            GatedFeedback(M, cell=cell, num_layers=L),
            (J + (L - 1) * M) * (n * M + L) + L * (n * M + (n - 1) * M * M + L * M * (M + L) + L),
        )
        for cell, n in (("elman", 1), ("lstm", 4), ("gru", 3))
    ),
    (
        HMLSTM(M, num_layers=3),
        (4 * M + 1) * ((J + 2 * M + 1) + (3 * M + 1)) + lstm(M, M) + 3 * M * 3 + 3 * M * M,
    ),
    (UnitaryRNN(2 * M), 2 * J * M + 7 * M + M),
    (FullCapacityURNN(2 * M), 2 * J * M + 2 * M * M + M),
    *((MultidimensionalLSTM(M, directions=n), n * 5 * M * (J + 2 * M + 1)) for n in (1, 2, 4)),
    (MultidimensionalLSTM(4 * M, merge="concatenate"), 4 * 5 * M * (J + 2 * M + 1)),
    (LRU(M, state_features=N), 3 * N + 2 * J * N + 2 * N * M + J * M),
    (MinGRU(M), 2 * M * (J + 1)),
    (MinLSTM(M), 3 * M * (J + 1)),
    (S5(M, state_features=N), 3 * N + 2 * J * N + 2 * N * M + J * M),
    (S4D(M, state_features=N), J * M + 3 * M + 4 * N * M),
    (Mamba(M, state_features=N, step_rank=L), J * M + M * (2 * L + 2 * N + 2) + N * M),
    (RGLRU(2 * M, num_heads=2), 2 * M * (J + 1) + 4 * M * M + 4 * M + 2 * M),
    (SLSTM(2 * M, num_heads=2), 8 * M * (J + 1) + 8 * M * M),
    (ParaGRU(M), 3 * M * (J + 2)),
    (ParaLSTM(M), 3 * M * (J + 2) + 2 * M),
    # Two heads, of keys of N.
    (GLA(2 * M, key_features=N), 2 * J * (3 * N + M) + 2 * N),
    (RetNet(2 * M, key_features=N), 2 * J * (2 * N + M)),
    (HGRN2(2 * M, key_features=N), 2 * J * (2 * N + M) + 2 * N),
    (Mamba2(2 * M, key_features=N), 2 * J * (M + N + 1) + 6),
    (MatrixLSTM(2 * M, key_features=N), 2 * J * (2 * N + 2 * M + 2) + 4 + 2 * M),
    (DeltaNet(2 * M, key_features=N), 2 * J * (2 * N + M + 1) + 2),
    (DeltaNet(2 * M, key_features=N, gated=True), 2 * J * (2 * N + M + 2) + 6),
    (RWKV7(2 * M, key_features=N), 2 * J * (4 * N + M) + 10 * N),
    (SRU(M, version=2017), 4 * J * M + 2 * M),
    (SRU(M), 4 * J * M + 4 * M),
    (SRU(J), 3 * J * J + 4 * J),  # as wide as its input, which then needs no matrix
    *(
        (QRNN(M, pooling=pool, width=3), (3 * J + 1) * n * M)
        for pool, n in (("f", 2), ("fo", 3), ("ifo", 4))
    ),
    (
        WaveNet(S, residual_features=M, dilations=(1, 2, 4)),
        M * (J + 1) + 3 * (2 * M * (2 * M + 1) + M * (M + 1) + S * (M + 1)) + S * (S + 1),
    ),
    *(
        (
            NeuralGPU(M, num_layers=L, kernel_size=5, relaxation=copies),
            J * M + copies * L * 3 * M * (25 * M + 1),
        )
        for copies in (1, 2)
    ),
    (
        ExtendedNeuralGPU(M, num_layers=L, num_outputs=S),
        J * M + L * 3 * M * (3 * 9 * M + 2) + S * (2 * M + 1),
    ),
]


def test_every_cell_and_parallel_model_is_here():
    missing = with_parameters() - {type(model) for model, _ in COUNTS}
    assert not missing, "these have no row in COUNTS: how many parameters they have"


@pytest.mark.parametrize(("model", "number"), COUNTS, ids=name_of)
def test_parameter_counts(model, number, x64):
    size = (*spatial_shape(model), J)
    shapes = jax.eval_shape(lambda key: as_sequence(model).init(key, size)[0], jax.random.key(0))
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == number
    # In double precision, too, parameters start in single.
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(shapes))

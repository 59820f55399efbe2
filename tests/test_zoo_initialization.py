"""The zoo's initial parameters: kernels, gates' biases, constants; and their number."""

import dataclasses
import functools
import itertools

import jax
import numpy as np
import pytest
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
from tlstm_jax.models.multidimensional_lstm import DIRECTIONS, MultidimensionalLSTM
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

INPUTS, WIDE, SEEDS = 50, 40, 12


@functools.cache
def starts(model):
    """The initial parameters for many keys, {"part/leaf": [SEEDS, ..]}."""

    keys = jax.random.split(jax.random.key(1), SEEDS)
    # Without jit: the products of these sizes are compiled once for all models.
    shape = (*spatial_shape(model), INPUTS)
    members = [as_sequence(model).init(key, shape)[0] for key in keys]
    params = jax.tree.map(lambda *leaves: np.stack(leaves), *members)
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {"/".join(k.key for k in path): leaf for path, leaf in leaves}


def name_of(value):
    return type(value).__name__ if dataclasses.is_dataclass(value) else ""


SCALED = {"input_scale": 0.5}
HYPER, GRID, WAVENET = (
    HyperLSTM(WIDE, hyper_features=30, embedding_features=5),
    GridLSTM(WIDE),
    WaveNet(30, residual_features=WIDE, dilations=(1, 2)),
)
CONV = ConvLSTM(WIDE, spatial_shape=(4,), peepholes=True)
ROWS, PYRAMID = RowLSTM(WIDE, spatial_shape=(4,)), PyramidLSTM(WIDE, spatial_shape=(4,), hidden=30)
SWEEPS = [f"axis_{n}/{way}" for n in (0, 1) for way in ("forward", "backward")]
FAST_SLOW, FAST_SLOW_SCALED = (
    FastSlowLSTM(WIDE, slow_features=30, num_fast=3),
    FastSlowLSTM(WIDE, slow_features=30, **SCALED),
)
FAST_SLOW_NONE = FastSlowLSTM(WIDE, slow_features=30, num_fast=3, forget_bias=0.0, bias_scale=0.3)
FEEDBACK = {cell: GatedFeedback(WIDE, cell=cell, num_layers=2) for cell in ("elman", "lstm", "gru")}
EXTENDED = ExtendedNeuralGPU(WIDE, num_outputs=30)
HM = HMLSTM(WIDE, num_layers=3)
MD = MultidimensionalLSTM(WIDE)
FAST_SLOW_PARTS = ("fast_0", "fast_1", "fast_2", "slow")
Z = slice(4 * WIDE, None)  # an HM layer's boundary

# (model, leaf, its standard deviation, which rows, which columns).
HEADS = [model(WIDE) for model in (GLA, RetNet, HGRN2, Mamba2, MatrixLSTM, RWKV7)]
HEADS += [DeltaNet(WIDE, gated=gated) for gated in (False, True)]

NORMAL = [
    *((cell(WIDE), "input/kernel", 50**-0.5) for cell in (LSTM1997, PeepholeLSTM, LayerNormLSTM)),
    *((cell(WIDE), "input/kernel", 50**-0.5) for cell in (MILSTM, MultiplicativeLSTM, SkipRNN)),
    *((MUT(WIDE, variant=n), "input/kernel", 50**-0.5) for n in (1, 2, 3)),
    *((cell(WIDE, **SCALED), "input/kernel", 0.5) for cell in (LSTM1997, PeepholeLSTM, SkipRNN)),
    *((cell(WIDE, **SCALED), "input/kernel", 0.5) for cell in (LayerNormLSTM, MILSTM, MUT)),
    *(
        (cell(WIDE, **SCALED), "input/kernel", 0.5)
        for cell in (UnitaryRNN, SRU, QRNN, MinGRU, MinLSTM, WaveNet)
    ),
    (CONV, "input/kernel", 150**-0.5),
    (CONV, "peephole/kernel", 0.1),
    (dataclasses.replace(CONV, **SCALED, peephole_scale=0.3), "input/kernel", 0.5),
    (dataclasses.replace(CONV, **SCALED, peephole_scale=0.3), "peephole/kernel", 0.3),
    (PeepholeLSTM(WIDE), "peephole/kernel", 0.1),
    (PeepholeLSTM(WIDE, peephole_scale=0.3), "peephole/kernel", 0.3),
    (ROWS, "input/kernel", 50**-0.5),
    (dataclasses.replace(ROWS, mask="none"), "input/kernel", 150**-0.5),
    (dataclasses.replace(ROWS, **SCALED), "input/kernel", 0.5),
    *((PYRAMID, f"{sweep}/input/kernel", 150**-0.5) for sweep in SWEEPS),
    (dataclasses.replace(PYRAMID, **SCALED), f"{SWEEPS[0]}/input/kernel", 0.5),
    (PYRAMID, "dense/kernel", 30**-0.5),
    (IRNN(WIDE), "input/kernel", 1e-3),
    (IRNN(WIDE, input_scale=None), "input/kernel", 50**-0.5),
    (MultiplicativeLSTM(WIDE), "input_factor/kernel", 50**-0.5),
    (MultiplicativeLSTM(WIDE, **SCALED), "input_factor/kernel", 0.5),
    (FastWeights(WIDE), "input/kernel", 50**-0.5),
    (FastWeights(WIDE, **SCALED), "input/kernel", 0.5),
    (FastWeights1992(WIDE), "input/kernel", 50**-0.5),
    (FastWeights1992(WIDE, **SCALED), "input/kernel", 0.5),
    (MultiplicativeRNN(WIDE), "input/kernel", 50**-0.5),
    (MultiplicativeRNN(WIDE), "input_factor/kernel", 50**-0.5),
    (MultiplicativeRNN(WIDE, **SCALED), "input/kernel", 0.5),
    (MultiplicativeRNN(WIDE, **SCALED), "input_factor/kernel", 0.5),
    (RHN(WIDE, depth=2), "input/kernel", 50**-0.5),
    (HYPER, "input/kernel", 50**-0.5),
    (HYPER, "hyper/input/kernel", 40**-0.5, slice(WIDE)),
    (HYPER, "hyper/input/kernel", 50**-0.5, slice(WIDE, None)),
    (HyperLSTM(WIDE, **SCALED), "input/kernel", 0.5),
    (HyperLSTM(WIDE, **SCALED), "hyper/input/kernel", 0.5, slice(WIDE, None)),
    (HYPER, "embed_b/kernel", 0.01),
    (HYPER, "recurrent/bias", 0.1),
    (HYPER, "hyper/recurrent/bias", 0.1),
    (LayerNormLSTM(WIDE, forget_bias=0.0), "recurrent/bias", 0.1),
    (LayerNormLSTM(WIDE, forget_bias=0.0, bias_scale=0.3), "recurrent/bias", 0.3),
    (GateNormLSTM(WIDE), "recurrent/bias", 0.1),
    *((FAST_SLOW_NONE, f"{part}/recurrent/bias", 0.3) for part in ("fast_0", "fast_2", "slow")),
    (FAST_SLOW, "fast_0/input/kernel", 50**-0.5),
    (FAST_SLOW, "slow/input/kernel", 40**-0.5),
    (FAST_SLOW, "fast_1/input/kernel", 30**-0.5),
    (FAST_SLOW_SCALED, "fast_0/input/kernel", 0.5),
    (FAST_SLOW_SCALED, "slow/input/kernel", 40**-0.5),
    (GRID, "input/kernel", 50**-0.5),
    (GridLSTM(WIDE, **SCALED), "input/kernel", 0.5),
    (RHN(WIDE, depth=2, **SCALED), "input/kernel", 0.5),
    *((model, "layer_0/input/kernel", 50**-0.5) for model in FEEDBACK.values()),
    (FEEDBACK["lstm"], "layer_0/gate_input/kernel", 50**-0.5),
    (FEEDBACK["lstm"], "layer_1/input/kernel", 40**-0.5),
    (FEEDBACK["lstm"], "layer_1/gate_input/kernel", 40**-0.5),
    *((FEEDBACK["lstm"], f"layer_{n}/gate/kernel", 80**-0.5) for n in (0, 1)),
    (GatedFeedback(WIDE, **SCALED), "layer_0/input/kernel", 0.5),
    (GatedFeedback(WIDE, **SCALED), "layer_0/gate_input/kernel", 0.5),
    (GatedFeedback(WIDE, **SCALED), "layer_1/input/kernel", 40**-0.5),
    (HM, "layer_0/bottom_up/kernel", 50**-0.5),
    (HMLSTM(WIDE, **SCALED), "layer_0/bottom_up/kernel", 0.5),
    *((HM, f"layer_{n}/bottom_up/kernel", 40**-0.5) for n in (1, 2)),
    *((HM, f"layer_{n}/recurrent/kernel", 40**-0.5, slice(None), Z) for n in (0, 1)),
    *((HM, f"layer_{n}/top_down/kernel", 40**-0.5, slice(None), Z) for n in (0, 1)),
    (HM, "output/gate/kernel", 120**-0.5),
    (HM, "output/embed/kernel", 120**-0.5),
    (
        UnitaryRNN(WIDE),
        "input/kernel",
        (2 / 90) ** 0.5,
    ),  # Glorot's, of its real and imaginary parts
    (FullCapacityURNN(WIDE), "input/kernel", (2 / 90) ** 0.5),
    *((MD, f"{name}/input/kernel", 50**-0.5) for name in DIRECTIONS),
    (MultidimensionalLSTM(WIDE, **SCALED), "up_left/input/kernel", 0.5),
    (SRU(WIDE), "input/kernel", 50**-0.5),
    (SRU(WIDE), "peephole/kernel", 40**-0.5),
    (LRU(WIDE), "input/kernel", 100**-0.5),
    (LRU(WIDE), "output/kernel", 40**-0.5),
    (LRU(WIDE), "skip/kernel", 50**-0.5),
    (MinGRU(WIDE), "input/kernel", 50**-0.5),
    *((model, "query/kernel", 50**-0.5) for model in HEADS),
    *((model(WIDE), "input/kernel", 50**-0.5) for model in (SLSTM, ParaGRU, ParaLSTM)),
    *((model(WIDE), "recurrent/kernel", 0.5) for model in (ParaGRU, ParaLSTM)),
    (S5(WIDE), "input/kernel", 100**-0.5),
    (S5(WIDE), "output/kernel", 40**-0.5),
    (S4D(WIDE), "input/kernel", 50**-0.5),
    (S4D(WIDE), "output/real", 0.5**0.5),
    (Mamba(WIDE), "selection/kernel", 40**-0.5),
    (RGLRU(WIDE, num_heads=2), "gates/kernel", 20**-0.5),
    (MinLSTM(WIDE), "input/kernel", 50**-0.5),
    (QRNN(WIDE), "input/kernel", 100**-0.5),
    (QRNN(WIDE, pooling="ifo", width=3), "input/kernel", 150**-0.5),
    (WAVENET, "input/kernel", 50**-0.5),
    *((WAVENET, f"layer_{n}/dilated/kernel", 80**-0.5) for n in (0, 1)),
    *((WAVENET, f"layer_{n}/residual/kernel", 40**-0.5) for n in (0, 1)),
    *((WAVENET, f"layer_{n}/skip/kernel", 40**-0.5) for n in (0, 1)),
    (WAVENET, "post/kernel", 30**-0.5),
    (NeuralGPU(WIDE), "input/kernel", 50**-0.5),
    (NeuralGPU(WIDE, **SCALED), "input/kernel", 0.5),
    (EXTENDED, "input/kernel", 50**-0.5),
    (EXTENDED, "readout/kernel", 40**-0.5),
    (EXTENDED, "embedding/kernel", 1.0),
    *((EXTENDED, f"decoder/layer_1/{part}/kernel", 360**-0.5) for part in ("gates", "tape")),
    *(
        (NeuralGPU(WIDE, relaxation=2), f"layer_{n}/{part}/kernel", 360**-0.5)
        for n in (0, 1)
        for part in ("gates", "candidate")
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("row", NORMAL, ids=lambda row: f"{type(row[0]).__name__}-{row[1]}")
def test_normal_kernels(row):
    model, leaf, deviation, *where = row
    values = starts(model)[leaf]
    if where:
        values = values[:, *where]
    error = 4 / values.size**0.5  # four times what chance allows
    assert abs(values.std() / deviation - 1) < error / 2**0.5
    assert abs(values.mean()) < error * deviation
    kurtosis = np.mean((values / values.std()) ** 4)  # 3 of a normal distribution, 1.8 of a uniform
    assert abs(kurtosis - 3) < error * 24**0.5


# (cell, leaf, gates, which rows, factor).
ORTHOGONAL = [
    (LSTM1997(WIDE), "recurrent/kernel", 3),
    *(
        (cell(WIDE), "recurrent/kernel", 4)
        for cell in (ConvLSTM, PeepholeLSTM, LayerNormLSTM, GateNormLSTM, MILSTM)
    ),
    (MultiplicativeLSTM(WIDE), "recurrent/kernel", 4),
    (MultiplicativeLSTM(WIDE), "recurrent_factor/kernel", 1),
    (MultiplicativeRNN(WIDE), "recurrent/kernel", 1),
    (MultiplicativeRNN(WIDE), "recurrent_factor/kernel", 1),
    (TTLSTM(WIDE, tt_recurrent=False), "recurrent/kernel", 4),
    *((MUT(WIDE, variant=n), "recurrent/kernel", 2 if n == 1 else 3) for n in (1, 2, 3)),
    *((SkipRNN(WIDE), f"{part}/kernel", 1) for part in ("recurrent", "skip")),
    (RHN(WIDE, depth=2), "recurrent/kernel", 2),
    *((HYPER, f"{part}recurrent/kernel", 4) for part in ("", "hyper/")),
    *(
        (FAST_SLOW, f"{part}/recurrent/kernel", 4)
        for part in ("fast_0", "fast_1", "fast_2", "slow")
    ),
    *(
        (model, f"{part}/kernel", 4, rows, 0.5**0.5)
        for model, layers in (
            (GRID, ("layer_0", "layer_1")),
            (GridLSTM(WIDE, tied=True), ("layer",)),
        )
        for part in (f"{layer}/{name}" for layer in layers for name in ("time", "depth"))
        for rows in (slice(WIDE), slice(WIDE, None))
    ),
    *((FEEDBACK["lstm"], f"layer_{n}/recurrent/kernel", 3) for n in (0, 1)),
    *((FEEDBACK["gru"], f"layer_{n}/recurrent/kernel", 2) for n in (0, 1)),
    *(
        (model, f"layer_{n}/feedback/kernel", 1, rows, 1.0)
        for model in FEEDBACK.values()
        for n in (0, 1)
        for rows in (slice(WIDE), slice(WIDE, None))
    ),
    *(
        (MD, f"{name}/recurrent/kernel", 5, rows, 0.5**0.5)
        for name in DIRECTIONS
        for rows in (slice(WIDE), slice(WIDE, None))
    ),
    *((HM, f"layer_{n}/recurrent/kernel", 4) for n in range(3)),
    *((HM, f"layer_{n}/top_down/kernel", 4) for n in range(2)),
]


@pytest.mark.slow(
    but=["LSTM-recurrent/kernel", "GRU-recurrent/kernel", "ConvLSTM-recurrent/kernel"]
)
@pytest.mark.parametrize("row", ORTHOGONAL, ids=lambda row: f"{type(row[0]).__name__}-{row[1]}")
def test_recurrent_kernels_are_orthogonal_for_each_gate(row):
    model, leaf, gates, *rest = row
    rows, factor = rest or (slice(None), 1.0)
    kernel = starts(model)[leaf][..., rows, :]
    size = kernel.shape[-2]
    assert kernel.shape[-1] - gates * size in (0, 1)  # 1: an HM layer's boundary
    blocks = np.stack(np.split(kernel[..., : gates * size], gates, axis=-1))
    product = np.swapaxes(blocks, -1, -2) @ blocks
    assert np.abs(product - factor**2 * np.eye(size)).max() < 1e-5
    blocks = blocks.reshape(-1, size * size)  # of all gates, and of an RHN's layers, for all keys
    alike = np.abs(blocks @ blocks.T) / (factor**2 * size)
    assert (alike - np.eye(len(blocks))).max() < 0.2


DRAWN = [
    CONV,
    PeepholeLSTM(WIDE),
    MultiplicativeLSTM(WIDE),
    MUT(WIDE),
    SkipRNN(WIDE),
    RHN(WIDE, depth=2),
    HYPER,
    ROWS,
    PYRAMID,
]
DRAWN += [FEEDBACK["lstm"], MD]
DRAWN += [*HEADS, S5(WIDE), S4D(WIDE), Mamba(WIDE), RGLRU(WIDE)]
DRAWN += [FAST_SLOW_NONE, GRID, HM, UnitaryRNN(WIDE), SRU(WIDE), LRU(WIDE), WAVENET]


@pytest.mark.slow(but=["WaveNet", "ConvLSTM", "TTLSTM"])
@pytest.mark.parametrize("model", DRAWN, ids=name_of)
def test_no_two_kernels_come_of_one_draw(model):
    drawn = {name: x for name, x in starts(model).items() if len(np.unique(x[0])) > 20}
    drawn.pop("transition/log_gamma", None)  # follows from nu
    if model == HM:
        drawn |= {f"{name}, boundary": x[..., Z] for name, x in drawn.items() if x[..., Z].size}
    assert len(drawn) > 1
    for (one, a), (other, b) in itertools.combinations(drawn.items(), 2):
        size = min(a[0].size, b[0].size)
        pair = [x.reshape(SEEDS, -1)[:, :size].ravel() for x in (a, b)]
        assert abs(np.corrcoef(*pair)[0, 1]) < 0.2, (one, other)


def test_phases_and_reflections_are_uniform():
    for leaf, limit in [("phases/kernel", np.pi), ("reflections/kernel", 1.0)]:
        values = starts(UnitaryRNN(WIDE))[leaf] / limit
        assert np.abs(values).max() <= 1
        quarters = np.histogram(values, 4, (-1, 1))[0] / values.size
        assert np.abs(quarters - 0.25).max() < 0.05


def test_the_transitions_of_an_lru_are_uniform_on_their_ring():
    drawn = starts(LRU(WIDE, min_radius=0.6, max_radius=0.9, max_phase=1.0))
    nu, theta, log_gamma = (drawn[f"transition/{n}"] for n in ("nu", "theta", "log_gamma"))
    radius = np.exp(-np.exp(nu))
    np.testing.assert_allclose(np.exp(2 * log_gamma), 1 - radius**2, rtol=1e-4)
    shares = ((radius**2 - 0.36) / (0.81 - 0.36), np.exp(theta))
    for share in shares:
        assert share.min() > -1e-4 and share.max() < 1 + 1e-4
        quarters = np.histogram(share, 4, (0, 1))[0] / share.size
        assert np.abs(quarters - 0.25).max() < 0.1


def test_the_decays_of_mamba_start_in_their_ranges():
    drawn = starts(Mamba2(400, num_heads=400))
    step = np.log1p(np.exp(drawn["decay/bias"]))
    share = np.log(step / 1e-3) / np.log(100)
    assert -1e-4 < share.min() < 0.05 and 0.95 < share.max() < 1 + 1e-4
    assert abs(share.mean() - 0.5) < 0.06
    rate = np.exp(drawn["decay/log_a"])
    assert 1 <= rate.min() < 2 and 15 < rate.max() <= 16 and abs(rate.mean() - 8.5) < 0.9


def test_the_gates_of_a_matrix_lstm_start_open():
    i, f = np.split(starts(MatrixLSTM(400, num_heads=400))["gates/bias"], 2, axis=-1)
    assert abs(i.std() - 0.1) < 0.02 and abs(i.mean()) < 0.02
    np.testing.assert_allclose(f.ravel()[[0, -1]], [3, 6], rtol=1e-5)
    assert (np.diff(f) > 0).all()


def test_full_capacity_starts_unitary():
    real, imag = (starts(FullCapacityURNN(WIDE))[f"unitary/{part}"] for part in ("real", "imag"))
    W = real + 1j * imag
    assert W.shape == (SEEDS, WIDE // 2, WIDE // 2)
    product = W @ np.swapaxes(W, -1, -2).conj()
    assert np.abs(product - np.eye(WIDE // 2)).max() < 1e-5


def forget(size, value=1.0, blocks=4, at=1):
    """`value` in one of the blocks."""
    return np.repeat(np.where(np.arange(blocks) == at, value, 0.0), size)


# (model, its leaves that are constant: those of biases are 0, and of scales 1, if they are not
# here; None says that they are drawn).
F = forget(WIDE)
CONSTANT = [
    *((cell(WIDE), {}) for cell in (LSTM1997, SkipRNN, UnitaryRNN, SRU, QRNN, MinGRU, MinLSTM)),
    *((MUT(WIDE, variant=n), {}) for n in (1, 2, 3)),
    *((cell(WIDE), {"recurrent/bias": F}) for cell in (ConvLSTM, PeepholeLSTM, MultiplicativeLSTM)),
    (dataclasses.replace(CONV, forget_bias=-3.0), {"recurrent/bias": -3 * F}),
    (MultiplicativeRNN(WIDE), {}),
    (dataclasses.replace(ROWS, forget_bias=-3.0), {"recurrent/bias": -3 * F}),
    (PYRAMID, {f"{sweep}/recurrent/bias": forget(30) for sweep in SWEEPS}),
    (FastWeights1992(WIDE), {}),
    (TTLSTM(WIDE), {"recurrent/bias": F}),
    (TTLSTM(WIDE, tt_recurrent=False, forget_bias=2.0), {"recurrent/bias": 2 * F}),
    (FastWeights(WIDE), {"recurrent/kernel": 0.05 * np.eye(WIDE), "recurrent/bias": None}),
    (
        FastWeights(WIDE, recurrent_scale=0.5, bias_scale=0.0),
        {"recurrent/kernel": 0.5 * np.eye(WIDE)},
    ),
    (LayerNormLSTM(WIDE, bias_scale=0.0), {"recurrent/bias": F}),
    (LayerNormLSTM(WIDE), {"recurrent/bias": None}),
    (GateNormLSTM(WIDE), {"recurrent/bias": None, "norm/bias": F}),
    (PeepholeLSTM(WIDE, forget_bias=-3.0), {"recurrent/bias": -3 * F}),
    (FullCapacityURNN(WIDE), {}),
    (IRNN(WIDE), {"recurrent/kernel": np.eye(WIDE)}),
    (IRNN(WIDE, recurrent_scale=0.5), {"recurrent/kernel": 0.5 * np.eye(WIDE)}),
    (
        MILSTM(WIDE),
        {
            "recurrent/bias": F,
            "integration/alpha": 1.0,
            "integration/beta_h": 0.5,
            "integration/beta_x": 0.5,
        },
    ),
    (RHN(WIDE, depth=2), {"recurrent/bias": np.stack([forget(WIDE, -2.0, 2)] * 2)}),
    (
        RHN(WIDE, depth=2, transform_bias=-4.0),
        {"recurrent/bias": np.stack([forget(WIDE, -4.0, 2)] * 2)},
    ),
    (
        HYPER,  # its forget biases are in the norms, the small LSTM's among them
        {
            "norm/bias": F,
            "hyper/norm/bias": forget(30),
            "recurrent/bias": None,
            "hyper/recurrent/bias": None,
            **{f"embed_{of}/kernel": 0.0 for of in "hx"},
            **{f"embed_{of}/bias": 1.0 for of in "hx"},
            **{f"scale_{of}/kernel": 0.1 / 5 for of in "hx"},
            "scale_b/kernel": 0.0,
        },
    ),
    (
        FastSlowLSTM(WIDE, slow_features=30, num_fast=3, bias_scale=0.0),
        {f"fast_{n}/recurrent/bias": F for n in range(3)} | {"slow/recurrent/bias": forget(30)},
    ),
    (FAST_SLOW, {f"{part}/recurrent/bias": None for part in FAST_SLOW_PARTS}),
    (
        FastSlowLSTM(WIDE, slow_features=30, num_fast=3, normalization="gates"),
        {f"{part}/recurrent/bias": None for part in FAST_SLOW_PARTS}
        | {f"fast_{n}/norm/bias": F for n in range(3)}
        | {"slow/norm/bias": forget(30)},
    ),
    (GRID, {f"layer_{n}/{of}/bias": F for n in (0, 1) for of in ("time", "depth")}),
    (GridLSTM(WIDE, tied=True), {f"layer/{of}/bias": F for of in ("time", "depth")}),
    (
        HM,
        {f"layer_{n}/recurrent/bias": np.append(F, 0.0) for n in (0, 1)}
        | {"layer_2/recurrent/bias": F},
    ),
    (FEEDBACK["lstm"], {f"layer_{n}/input/bias": F for n in (0, 1)}),
    *((FEEDBACK[cell], {}) for cell in ("elman", "gru")),
    (MD, {}),
    (
        MultidimensionalLSTM(WIDE, forget_bias=2.0),
        {
            f"{name}/recurrent/bias": forget(WIDE, 2.0, 5) + forget(WIDE, 2.0, 5, 2)
            for name in DIRECTIONS
        },
    ),
    (
        MultidimensionalLSTM(WIDE, forget_bias=2.0, cell="leaky", directions=1),
        {"down_right/recurrent/bias": forget(WIDE, 2.0, 5)},
    ),
    (SRU(WIDE, highway_bias=-3.0), {"input/bias": forget(WIDE, -3.0, 2)}),
    (LRU(WIDE), {f"transition/{name}": None for name in ("nu", "theta", "log_gamma")}),
    *(
        (model(WIDE), {"transition/log_rate": np.log(0.5), "transition/log_step": None})
        for model in (S5, S4D)
    ),
    (SLSTM(WIDE, forget_bias=2.0), {"recurrent/bias": forget(WIDE, 2.0, 4)}),
    (ParaGRU(WIDE), {}),
    (ParaLSTM(WIDE, forget_bias=2.0), {"input/bias": forget(WIDE, 2.0, 3, 0)}),
    (Mamba(WIDE), {"step/bias": None}),
    (RGLRU(WIDE), {"decay/bias": None}),
    *((model, {}) for model in (GLA(WIDE), RetNet(WIDE), HGRN2(WIDE), DeltaNet(WIDE))),
    (DeltaNet(WIDE, gated=True), {"decay/bias": None, "decay/log_a": None}),
    (Mamba2(WIDE), {"decay/bias": None, "decay/log_a": None}),
    (RWKV7(WIDE), {"removed/scale": 0.85, "bonus/scale": 0.0}),
    (MatrixLSTM(WIDE), {"gates/bias": None}),
    (MinLSTM(WIDE, forget_bias=2.0), {"input/bias": forget(WIDE, 2.0, 3, 0)}),
    (QRNN(WIDE, pooling="ifo", forget_bias=2.0), {"input/bias": forget(WIDE, 2.0)}),
    (WAVENET, {}),
    (NeuralGPU(WIDE), {f"layer_{n}/gates/bias": 1.0 for n in (0, 1)}),
    (EXTENDED, {f"{of}layer_{n}/gates/bias": 1.0 for of in ("", "decoder/") for n in (0, 1)}),
    (
        NeuralGPU(WIDE, num_layers=1, gate_bias=-0.5, relaxation=2),
        {"layer_0/gates/bias": -0.5},
    ),
]


def test_every_cell_and_parallel_model_is_here():
    missing = with_parameters() - {type(model) for model, _ in CONSTANT}
    assert not missing, "these have no row in CONSTANT: what their biases and scales start at"


@pytest.mark.slow(but=["LSTM-", "GRU-", "TensorizedLSTM-", "NeuralGPU-0", "ConvLSTM-"])
@pytest.mark.parametrize(("model", "told"), CONSTANT, ids=name_of)
def test_biases_and_scales(model, told):
    leaves = starts(model)
    assert set(told) <= set(leaves)
    usual = {"bias": 0.0, "scale": 1.0}
    for path, leaf in leaves.items():
        expected = told.get(path, usual.get(path.split("/")[-1]))
        if expected is None:
            assert leaf.std() > 0, path  # drawn
        else:
            expected = np.broadcast_to(np.float32(expected), leaf.shape)
            np.testing.assert_array_equal(leaf, expected, err_msg=path)

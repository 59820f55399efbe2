"""Where cells start (initial parameters), and which settings and inputs they refuse."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import BY_NAME, CASES, FEW, ZOO, B, I, M, assert_close, each, floats, input_shape_of, jit

from tlstm_jax import GRU, LSTM, Elman, ResetBeforeGRU, TensorizedLSTM, TensorizedRNN
from tlstm_jax.cells.fast_slow_lstm import FastSlowLSTM
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
from tlstm_jax.cells.mut import MUT
from tlstm_jax.cells.peephole_lstm import PeepholeLSTM
from tlstm_jax.cells.recurrent_dropout import RecurrentDropout
from tlstm_jax.cells.rhn import RHN
from tlstm_jax.cells.skip_rnn import SkipRNN
from tlstm_jax.cells.sru import SRUCell
from tlstm_jax.cells.unitary import FullCapacityURNN, UnitaryRNN
from tlstm_jax.cells.zoneout import Zoneout
from tlstm_jax.models.batch_norm_lstm import BatchNormLSTM
from tlstm_jax.models.stacked import Stacked
from tlstm_jax.network import Network
from tlstm_jax.overrides import override


@each(CASES)
def test_parameters_and_carry_are_float32(case):
    params = jax.eval_shape(
        lambda key: case.cell.init(key, input_shape_of(case.cell)), jax.random.key(0)
    )
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    assert all(leaf.dtype == jnp.float32 for leaf in floats(case.cell.init_carry(B)))
    assert all(not leaf.any() for leaf in jax.tree.leaves(case.cell.init_carry(B)))


# (cell, path of a kernel, its standard deviation for I = 50 inputs, M = 40).
WIDE = 40
INITIAL = [
    (Elman(WIDE), ("input", "kernel"), 50**-0.5),
    (LSTM(WIDE, input_scale=1.0), ("input", "kernel"), 1.0),
    (GRU(WIDE, input_scale=0.5), ("input", "kernel"), 0.5),
    (ResetBeforeGRU(WIDE), ("input", "kernel"), 50**-0.5),
    (LSTM(WIDE), ("recurrent", "kernel"), WIDE**-0.5),
    (TensorizedLSTM(WIDE, (3,)), ("input", "kernel"), 50**-0.5),
    (TensorizedLSTM(WIDE, (3,), input_scale=1.0), ("input", "kernel"), 1.0),
    (TensorizedLSTM(WIDE, (3,)), ("cross_layer", "kernel"), (3 * WIDE) ** -0.5),
    (TensorizedLSTM(WIDE, (3, 3), kernel_size=2), ("cross_layer", "kernel"), (4 * WIDE) ** -0.5),
    (TensorizedRNN(WIDE, (3,), kernel_scale=2.0), ("cross_layer", "kernel"), 2 * 120**-0.5),
    (TensorizedLSTM(4000, (1,), kernel_size=2), ("input", "bias"), 0.1),
    (TensorizedRNN(4000, (1,), kernel_size=2, input_bias_scale=0.3), ("input", "bias"), 0.3),
]


@pytest.mark.parametrize(("cell", "path", "deviation"), INITIAL)
def test_initial_standard_deviations(cell, path, deviation):
    leaf = jit(lambda key: functools.reduce(lambda t, k: t[k], path, cell.init(key, 50)))(
        jax.random.key(1)
    )
    assert abs(leaf.std() / deviation - 1) < 0.05
    assert abs(leaf.mean()) < 0.1 * deviation


@each([name for name in FEW if BY_NAME[name] not in ZOO])  # of the zoo: test_zoo_initialization
def test_initial_biases_are_zero_but_for_the_forget_gate_and_the_projection(case):
    params = jit(lambda key: case.cell.init(key, I))(jax.random.key(0))
    if isinstance(case.cell, LSTM):
        expected = np.repeat([0.0, 1.0, 0.0, 0.0], M)  # i, f, g, o
        np.testing.assert_array_equal(params["recurrent"]["bias"], expected)
    elif isinstance(case.cell, TensorizedLSTM):
        expected = np.zeros(case.cell.gates)  # g, i, f, o, q
        expected[2 * M : 3 * M] = forget = params["cross_layer"]["bias"][2 * M : 3 * M]
        np.testing.assert_array_equal(params["cross_layer"]["bias"], expected)
        assert (abs(forget - 1) <= 3).all() and len(set(forget.tolist())) == M
        assert params["input"]["bias"].all()
    elif isinstance(case.cell, TensorizedRNN):
        assert not params["cross_layer"]["bias"].any() and params["input"]["bias"].all()
    else:
        biases = [part["bias"] for part in params.values() if "bias" in part]
        assert biases and not any(bias.any() for bias in biases)
    if "norm" in params:
        assert (params["norm"]["scale"] == 1).all() and not params["norm"]["bias"].any()


def test_forget_biases_are_spread_evenly():
    cell = TensorizedLSTM(2000, (1,), forget_bias=-1.0, forget_spread=2.0)
    params = jit(lambda key: cell.init(key, I))(jax.random.key(0))
    forget = params["cross_layer"]["bias"][4000:6000]
    assert -3 <= forget.min() < -2.98 and 0.98 < forget.max() <= 1
    quarters = np.histogram(forget, bins=4, range=(-3, 1))[0]
    assert (abs(quarters - 500) < 100).all()
    same = dataclasses.replace(cell, forget_spread=0.0)
    params = jit(lambda key: same.init(key, I))(jax.random.key(0))
    assert (params["cross_layer"]["bias"][4000:6000] == -1).all()


@pytest.mark.parametrize(
    "cell", [LSTM(M), TensorizedLSTM(M, (2,), forget_spread=0.0)], ids=["lstm", "tlstm"]
)
def test_overrides_replace_initial_settings_under_vmap(cell):
    key = jax.random.key(0)
    floats = {"forget_bias": jnp.array([0.0, 4.0]), "input_scale": jnp.array([0.5, 2.0])}
    swept = jit(jax.vmap(lambda f: override(cell, f).init(key, I)))(floats)
    for n in range(2):
        member = dataclasses.replace(cell, forget_bias=[0.0, 4.0][n], input_scale=[0.5, 2.0][n])
        expected = jit(lambda cell: cell.init(key, I), static_argnums=0)(member)
        assert_close(jax.tree.map(lambda x: x[n], swept), expected, 1e-6)  # noqa: B023
    part, forget = ("recurrent", M) if isinstance(cell, LSTM) else ("cross_layer", 2 * M)
    assert (swept[part]["bias"][:, forget] == floats["forget_bias"]).all()


SIZED = [LSTM1997, PeepholeLSTM, IRNN, LayerNormLSTM, MILSTM, MultiplicativeLSTM, MUT, SkipRNN, RHN]
SIZED += [
    GateNormLSTM,
    HyperLSTM,
    FastSlowLSTM,
    GridLSTM,
    HMLSTM,
    UnitaryRNN,
    FullCapacityURNN,
    SRUCell,
]
REFUSED = [
    (
        lambda: TensorizedLSTM(4, (3,), kernel_size=1),
        "kernel_size is 1; accepted are integers >= 2",
    ),
    (lambda: TensorizedRNN(4, (3,), kernel_size=0), "kernel_size is 0; accepted are integers >= 2"),
    (lambda: TensorizedLSTM(4, (3,), kernel_size=2.0), "kernel_size is 2.0; accepted"),
    (lambda: TensorizedLSTM(4, ()), "tensor_shape is (); accepted are one or more sizes >= 1"),
    (lambda: TensorizedLSTM(4, (3, 0)), "tensor_shape is (3, 0); accepted"),
    (lambda: TensorizedRNN(4, (2.5,)), "tensor_shape is (2.5,); accepted"),
    (lambda: TensorizedLSTM(0, (3,)), "features is 0; accepted are integers >= 1"),
    (lambda: TensorizedRNN(-1, (3,)), "features is -1; accepted are integers >= 1"),
    (
        lambda: TensorizedLSTM(4, (3,), normalization="batch"),
        "normalization is 'batch'; accepted are None, 'channel' and 'layer'",
    ),
    (
        lambda: TensorizedLSTM(4, (3,), epsilon=-1e-5),
        "epsilon is -1e-05; accepted are numbers > 0",
    ),
    *(
        (lambda cell=cell, e=e: cell(4, epsilon=e), f"epsilon is {e}; accepted are numbers > 0")
        for cell in (LayerNormLSTM, GateNormLSTM, HyperLSTM, BatchNormLSTM)
        for e in (0.0, 1e-50, float("nan"), float("inf"))
    ),
    (lambda: TensorizedLSTM(4, (3,), epsilon=0), "epsilon is 0; accepted are numbers > 0"),
    (
        lambda: FastSlowLSTM(4, normalization="channel"),
        "normalization is 'channel'; accepted are products, gates",
    ),
    (
        lambda: TensorizedRNN(4, (3,), convolution_gradient="fast"),
        "gradient is 'fast'; accepted are auto, products, xla",
    ),
    (lambda: LSTM(0), "features is 0; accepted are integers >= 1"),
    (lambda: Elman(2.0), "features is 2.0; accepted are integers >= 1"),
    (lambda: GRU(-1), "features is -1; accepted are integers >= 1"),
    (lambda: ResetBeforeGRU(0), "features is 0; accepted are integers >= 1"),
    *((lambda cell=cell: cell(0), "features is 0; accepted are integers >= 1") for cell in SIZED),
    (lambda: MUT(4, variant=4), "variant is 4; accepted are 1, 2, 3"),
    (lambda: SkipRNN(4, skip=1), "skip is 1; accepted are integers >= 2"),
    (lambda: RHN(4, depth=0), "depth is 0; accepted are integers >= 1"),
    (lambda: HyperLSTM(4, hyper_features=0), "hyper_features is 0; accepted are integers >= 1"),
    (
        lambda: HyperLSTM(4, hyper_features=3, embedding_features=0),
        "embedding_features is 0; accepted are integers >= 1",
    ),
    (lambda: FastSlowLSTM(4, slow_features=0), "slow_features is 0; accepted are integers >= 1"),
    (lambda: FastSlowLSTM(4, num_fast=1), "num_fast is 1; accepted are integers >= 2"),
    (
        lambda: FastSlowLSTM(4, zoneout_hidden=1.0),
        "zoneout_hidden is 1.0; accepted are rates in [0",
    ),
    (lambda: FastSlowLSTM(4, zoneout_memory=-0.1), "zoneout_memory is -0.1; accepted are rates"),
    (lambda: GridLSTM(4, num_layers=0), "num_layers is 0; accepted are integers >= 1"),
    (
        lambda: FastWeights1992(4, query_features=0),
        "query_features is 0; accepted are integers >= 1",
    ),
    (lambda: GatedFeedback(4, num_layers=0), "num_layers is 0; accepted are integers >= 1"),
    (lambda: GatedFeedback(4, cell="rnn"), "cell is 'rnn'; accepted are elman, lstm, gru"),
    (lambda: HMLSTM(4, num_layers=1), "num_layers is 1; accepted in an HM-LSTM are integers >= 2"),
    (lambda: UnitaryRNN(5), "features of a UnitaryRNN is 5; accepted are even integers"),
    (
        lambda: FullCapacityURNN(5),
        "features of a FullCapacityURNN is 5; accepted are even integers",
    ),
    (
        lambda: UnitaryRNN(4, dtype=jnp.bfloat16),
        "dtype of a UnitaryRNN is bfloat16; accepted are None",
    ),
    (
        lambda: FullCapacityURNN(4, dtype=jnp.float16),
        "dtype of a FullCapacityURNN is float16; accepted",
    ),
    (lambda: SRUCell(4, version=2019), "version is 2019; accepted are 2017, 2018"),
    (
        lambda: SRUCell(4, version=2017, scale=2.0),
        "scale is 2.0; accepted in the version of 2017 is None",
    ),
    (lambda: Zoneout(LSTM(4), hidden=1.0), "hidden is 1.0; accepted are rates in [0, 1)"),
    (
        lambda: Zoneout(LSTM(4), hidden=0.1, memory=-0.1),
        "memory is -0.1; accepted are rates in [0, 1)",
    ),
    (
        lambda: Zoneout(Elman(4), memory=0.1),
        "Elman has no memory in its carry; accepted is memory=0",
    ),
    (
        lambda: Zoneout(TensorizedLSTM(4, (3,))),
        "TensorizedLSTM has a delay of 2; accepted by",
    ),
    (lambda: RecurrentDropout(LSTM(4), rate=1.0), "rate is 1.0; accepted are rates in [0, 1)"),
    (
        lambda: RecurrentDropout(RHN(4), rate=0.1),
        "RHN has one state for its products and memory; acc",
    ),
]


@pytest.mark.parametrize(("make", "text"), REFUSED)
def test_refuses_settings_that_make_no_sense(make, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        make()


@pytest.mark.parametrize(
    ("cell", "name", "accepted"),
    [
        (LSTM(M), "forget_bais", "accepted for LSTM are forget_bias, input_scale"),
        (LSTM(M), "features", "accepted for LSTM are forget_bias, input_scale"),
        (GRU(M), "forget_bias", "accepted for GRU are input_scale"),
        (TensorizedLSTM(M, (2,)), "epsilon", "accepted for TensorizedLSTM are forget_bias, "),
        (LayerNormLSTM(M), "epsilon", "accepted for LayerNormLSTM are forget_bias, input_scale"),
        (FastSlowLSTM(M), "zoneout_hidden", "accepted for FastSlowLSTM are forget_bias, "),
        (HMLSTM(M), "slope", "accepted for HMLSTM are forget_bias, input_scale"),
        (SRUCell(M), "scale", "accepted for SRUCell are input_scale"),
    ],
)
def test_refuses_to_override_what_is_no_float_or_has_to_be_static(cell, name, accepted):
    with pytest.raises(ValueError, match=f"override names {name}; {accepted}"):
        override(cell, {name: jnp.float32(1)})


def test_numpy_integers_are_sizes():
    cell = TensorizedLSTM(np.int64(4), (np.int32(3), 2), kernel_size=np.int64(2))
    assert cell == TensorizedLSTM(4, (3, 2), kernel_size=2) and LSTM(np.int64(4)) == LSTM(4)


def test_refuses_vectors_of_another_size():
    cell = LSTM(M)
    params = cell.init(jax.random.key(0), I)
    with pytest.raises(ValueError, match="x has 5 features; accepted by the input kernel are 2"):
        cell.step(params, cell.init_carry(B), jnp.zeros((B, 5)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: LSTM(4, 0.5),
        lambda: GRU(4, 0.5),
        lambda: TensorizedLSTM(4, (2,), 2),
        lambda: FastSlowLSTM(4, 3),
        lambda: Zoneout(LSTM(4), 0.1),
        lambda: Stacked(LSTM(4), 2, True),
        lambda: Network(LSTM(4), 2, 3, True),
    ],
)
def test_settings_behind_the_width_go_by_their_names(make):
    with pytest.raises(TypeError, match="positional argument"):
        make()

"""The table of cells that every test of cells inherits, and what those tests share.

A new cell is a new row in ZOO: the cell, and its independent version from `zoo_oracles`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import zoo_oracles

from tlstm_jax import GRU, LSTM, Elman, ResetBeforeGRU, TensorizedLSTM, TensorizedRNN, unroll
from tlstm_jax.cells.conv_lstm import ConvLSTM
from tlstm_jax.cells.fast_slow_lstm import FastSlowLSTM
from tlstm_jax.cells.fast_weights import FastWeights
from tlstm_jax.cells.fast_weights_1992 import FastWeights1992
from tlstm_jax.cells.gated_feedback import GatedFeedback
from tlstm_jax.cells.grid_lstm import GridLSTM
from tlstm_jax.cells.gru import GRUCarry
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

T, B, I, M = 5, 2, 2, 3

# At these sizes XLA's optimizations take several times longer than what they save.
QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}


@functools.cache
def _compiler_options():
    try:
        jax.jit(lambda: 0, compiler_options=QUICK)()
    except RuntimeError:  # another version of XLA, without one of them
        return None
    return QUICK


def jit(function, **settings):
    """jax.jit without XLA's optimizations; not to be nested or differentiated."""
    return jax.jit(function, compiler_options=_compiler_options(), **settings)


class Case(NamedTuple):
    name: str
    cell: Any
    oracle: Callable[[Any, np.ndarray], oracles.Run]


def _tlstm(name, tensor_shape, kernel_size, memory_convolution=True, normalization=None):
    settings = {
        "tensor_shape": tensor_shape,
        "kernel_size": kernel_size,
        "memory_convolution": memory_convolution,
        "normalization": normalization,
    }
    oracle = functools.partial(oracles.tensorized, gated=True, **settings)
    return Case(name, TensorizedLSTM(features=M, **settings), oracle)


def _trnn(name, tensor_shape, kernel_size):
    settings = {"tensor_shape": tensor_shape, "kernel_size": kernel_size}
    oracle = functools.partial(oracles.tensorized, gated=False, **settings)
    return Case(name, TensorizedRNN(features=M, **settings), oracle)


def _conv_lstm(name, spatial_shape, **settings):
    oracle = functools.partial(zoo_oracles.conv_lstm, dilation=settings.get("dilation", 1))
    return Case(name, ConvLSTM(M, spatial_shape=spatial_shape, **settings), oracle)


def _row_lstm(name, width, mask, **settings):
    oracle = functools.partial(zoo_oracles.row_lstm, mask=mask)
    return Case(name, RowLSTM(M, spatial_shape=(width,), mask=mask, **settings), oracle)


ZOO = [
    _conv_lstm("conv", (), peepholes=True),
    Case("lstm-1997", LSTM1997(M), zoo_oracles.lstm_1997),
    Case("peephole", PeepholeLSTM(M), zoo_oracles.peephole_lstm),
    Case("slstm", SLSTM(M), zoo_oracles.slstm),
    Case("slstm-heads", SLSTM(2 * M, num_heads=2), zoo_oracles.slstm),
    Case("para-gru", ParaGRU(M), zoo_oracles.para_gru),
    Case("para-lstm", ParaLSTM(M), zoo_oracles.para_lstm),
    Case("irnn", IRNN(M), zoo_oracles.irnn),
    Case("layer-norm", LayerNormLSTM(M), zoo_oracles.layer_norm_lstm),
    Case("gate-norm", GateNormLSTM(M), zoo_oracles.gate_norm_lstm),
    Case("mi", MILSTM(M), zoo_oracles.mi_lstm),
    Case("mlstm", MultiplicativeLSTM(M), zoo_oracles.multiplicative_lstm),
    Case("mrnn", MultiplicativeRNN(M, factors=M + 2), zoo_oracles.multiplicative_rnn),
    Case("tt", TTLSTM(2 * M, tt_shape=(2, M), tt_rank=2), zoo_oracles.tt_lstm),
    Case(
        "tt-dense",
        TTLSTM(2 * M, tt_rank=3, tt_input_shape=(1, I, 1), tt_recurrent=False),
        zoo_oracles.tt_lstm,
    ),
    *(
        Case(f"mut{n}", MUT(M, variant=n), functools.partial(zoo_oracles.mut, variant=n))
        for n in (1, 2, 3)
    ),
    Case(
        "fast-weights",
        FastWeights(M, inner_steps=2, activation="tanh"),
        functools.partial(zoo_oracles.fast_weights, inner_steps=2, f=np.tanh),
    ),
    Case(
        "fast-weights-1992",
        FastWeights1992(M, query_features=M + 1, decay=0.8, rate=0.5),
        functools.partial(zoo_oracles.fast_weights_1992, d=M + 1, decay=0.8, rate=0.5),
    ),
    Case("skip", SkipRNN(M, skip=2), functools.partial(zoo_oracles.skip_rnn, skip=2)),
    Case("rhn", RHN(M, depth=2), zoo_oracles.rhn),
    Case("hyper", HyperLSTM(M, hyper_features=4, embedding_features=2), zoo_oracles.hyper_lstm),
    Case(
        "fast-slow-3",
        FastSlowLSTM(M, slow_features=4, num_fast=3),
        functools.partial(zoo_oracles.fast_slow_lstm, num_fast=3),
    ),
    Case(
        "fast-slow-gates",
        FastSlowLSTM(M, slow_features=4, num_fast=3, normalization="gates"),
        functools.partial(
            zoo_oracles.fast_slow_lstm, num_fast=3, step=zoo_oracles.gate_norm_lstm_step
        ),
    ),
    *(
        Case(
            f"grid-{'tied' if tied else 'untied'}",
            GridLSTM(M, num_layers=2, tied=tied),
            functools.partial(zoo_oracles.grid_lstm, num_layers=2, tied=tied),
        )
        for tied in (False, True)
    ),
    *(
        Case(
            f"gated-feedback-{cell}",
            GatedFeedback(M, cell=cell, num_layers=2),
            functools.partial(zoo_oracles.gated_feedback, cell=cell, num_layers=2),
        )
        for cell in ("elman", "lstm", "gru")
    ),
    Case("hm", HMLSTM(M, num_layers=3), functools.partial(zoo_oracles.hm_lstm, num_layers=3)),
    Case(
        "urnn",
        UnitaryRNN(2 * M),
        functools.partial(
            zoo_oracles.unitary_rnn, permutation=np.random.default_rng(0).permutation(M)
        ),
    ),
    Case("full-urnn", FullCapacityURNN(2 * M), zoo_oracles.full_capacity_unitary_rnn),
]
MAPS = [
    _conv_lstm("conv-3", (3,)),
    _conv_lstm("conv-3x2-peepholes", (3, 2), peepholes=True),
    _conv_lstm("conv-5x4-dilated", (5, 4), dilation=2),
    _row_lstm("rows-A", 4, "A"),
    _row_lstm("rows-B", 3, "B", kernel_size=1, input_kernel_size=5),
    _row_lstm("rows-none", 5, "none", kernel_size=5, input_kernel_size=3),
]
CASES = [
    Case("elman", Elman(M), oracles.elman),
    Case("lstm", LSTM(M), oracles.lstm),
    Case("gru", GRU(M), functools.partial(oracles.gru, reset_after=True)),
    Case("gru-before", ResetBeforeGRU(M), functools.partial(oracles.gru, reset_after=False)),
    _trnn("trnn-4-k3", (4,), 3),
    _trnn("trnn-3x2-k2", (3, 2), 2),
    _tlstm("tlstm-1-k3", (1,), 3),
    _tlstm("tlstm-4-k2-nomem", (4,), 2, memory_convolution=False),
    _tlstm("tlstm-3-k2", (3,), 2),
    _tlstm("tlstm-4-k3", (4,), 3),
    _tlstm("tlstm-3-k3-ln", (3,), 3, normalization="layer"),
    _tlstm("tlstm-2-k5-ln", (2,), 5, normalization="layer"),  # depth 1
    _tlstm("tlstm-5-k4-cn", (5,), 4, normalization="channel"),
    _tlstm("tlstm-6-k5-nomem-cn", (6,), 5, memory_convolution=False, normalization="channel"),
    _tlstm("tlstm-3x3-k3-cn", (3, 3), 3, normalization="channel"),
    _tlstm("tlstm-2x3-k2-nomem-ln", (2, 3), 2, memory_convolution=False, normalization="layer"),
    _tlstm("tlstm-5x2-k4", (5, 2), 4),
    _tlstm("tlstm-2x5-k5-cn", (2, 5), 5, normalization="channel"),
    _tlstm("tlstm-2x2x2-k3-cn", (2, 2, 2), 3, normalization="channel"),
    _tlstm("tlstm-2x1x3-k2", (2, 1, 3), 2),
    *ZOO,
    *MAPS,
]
BY_NAME = {case.name: case for case in CASES}
# One of each kind, for what does not depend on the tensor's shape.
FEW = ["elman", "lstm", "gru", "gru-before", "trnn-4-k3", "tlstm-4-k3", "tlstm-3x3-k3-cn"]
FEW += [case.name for case in ZOO]
# Those of the short run, in tests over all.
SHORT = ["lstm", "gru", "trnn-4-k3", "tlstm-4-k3", "tlstm-3x3-k3-cn", "conv"]
# Those too that are large, or made unlike others.
VARIED = [*SHORT, "tlstm-2x2x2-k3-cn", "tlstm-2x1x3-k2", "conv-5x4-dilated", "fast-slow-gates"]
VARIED += ["hyper", "hm", "urnn", "tt", "fast-weights", "gated-feedback-gru"]
ON_MAPS = [case.name for case in MAPS]
# Those that compute in bfloat16.
NARROW = [name for name in [*FEW, *ON_MAPS] if "urnn" not in name]


def each(cases):
    """Parametrizes a test by cases, given as cases or names."""
    cases = [BY_NAME[case] if isinstance(case, str) else case for case in cases]
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def random_params(init, seed=0):
    """Random float64 parameters in the tree that `init(key)` makes; no bias is zero."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        value = rng.normal(size=leaf.shape)
        match path[-1].key:
            case "kernel" | "real" | "imag":
                return value / np.sqrt(np.prod(leaf.shape[:-1]))
            case "scale" | "alpha" | "beta_h" | "beta_x":
                return 1.0 + 0.3 * value
            case "nu" | "theta" | "log_gamma" | "log_a" | "log_rate" | "log_step" | "frequency":
                return 0.5 * value
            case "bias" | "hidden" | "memory":  # the last two: of a learned carry
                return 0.5 * value
            case name:
                raise ValueError(
                    f"random_params of tests/cases.py has no rule for the parameter {name}"
                )

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(init, jax.random.key(0)))


def input_shape_of(cell):
    """I, or (..spatial.., I) of a cell over maps."""
    return (*spatial_shape(cell), I) if spatial_shape(cell) else I


def cell_params(cell, input_shape=None, seed=0):
    shape = input_shape_of(cell) if input_shape is None else input_shape
    return random_params(lambda key: cell.init(key, shape), seed)


def vectors(*, steps=T, batch=B, size=I, seed=1):
    """[T, B, I], or maps where `size` is a tuple."""
    sizes = size if isinstance(size, tuple) else (size,)
    return np.random.default_rng(seed).normal(size=(steps, batch, *sizes))


def inputs_for(case, **settings):
    """Vectors, or maps, for the cell of a case."""
    return vectors(size=input_shape_of(case.cell), **settings)


def tokens(*, steps=T, batch=B, size=I, seed=1):
    """Tokens, among them -1, the zero input."""
    drawn = np.random.default_rng(seed).integers(-1, size, size=(steps, batch))
    drawn[1, 0] = -1
    return drawn.astype(np.int32)


def on_device(tree):
    return jax.tree.map(jnp.asarray, tree)


def random_carry(cell, batch=B, seed=5):
    """A carry of floats, within what states can be."""
    rng = np.random.default_rng(seed)
    carry = cell.init_carry(batch, jnp.float64)
    return jax.tree.map(lambda leaf: jnp.asarray(np.tanh(rng.normal(size=leaf.shape))), carry)


KEPT = ("memory", "stabilizer", "boundary", "held")


def assert_narrow(carry):
    """What computes in bfloat16 has states in it, but for memory, which keeps init_carry's dtype."""

    def is_memory(path, leaf):  # as inputs are that a residual connection holds back
        name = getattr(path[-1], "name", "") if path else ""
        is_past = any(getattr(step, "name", "") == "past" for step in path)
        return isinstance(leaf, GRUCarry) or is_past or name in KEPT

    leaves = jax.tree_util.tree_leaves_with_path(carry, is_leaf=lambda x: isinstance(x, GRUCarry))
    for path, leaf in leaves:
        for part in floats(leaf):
            expected = jnp.float32 if is_memory(path, leaf) else jnp.bfloat16
            assert part.dtype == expected, (
                f"carry{jax.tree_util.keystr(path)}: float32 is for what is called memory, or is the "
                "GRUCarry of a cell whose hidden state is its own memory; all else takes the compute dtype"
            )


def run(cell, params, xs, carry=None):
    """(carry, outputs) of a cell, from zero or from `carry`."""
    carry = cell.init_carry(xs.shape[1], jnp.float64) if carry is None else carry
    return jit(functools.partial(unroll, cell))(on_device(params), carry, jnp.asarray(xs))


def step(cell, params, carry, x):
    return jit(cell.step)(on_device(params), carry, jnp.asarray(x))


def floats(carry):
    """The floating-point leaves of a carry, in order: what the oracles call a state."""
    return [leaf for leaf in jax.tree.leaves(carry) if jnp.issubdtype(leaf.dtype, jnp.floating)]


def assert_close(actual, expected, tolerance=1e-12):
    """Two trees of the same structure, leaf by leaf; NaN equals nothing."""
    actual, expected = jax.tree.leaves(actual), jax.tree.leaves(expected)
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=False)

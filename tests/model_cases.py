"""The table of models that every test of models inherits, and what those tests share.

A new model is a new row in MODELS: the model, and its independent version, composed of those in
`oracles` and `model_oracles`. Cells alone are in `cases`.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import matrix_oracles
import model_oracles
import numpy as np
import oracles
import pytest
import state_space_oracles
import zoo_oracles
from cases import MAPS, ZOO, B, I, M, assert_close, jit, on_device, random_params, vectors

from tlstm_jax import GRU, LSTM, Elman, Stacked, TensorizedLSTM, TensorizedRNN
from tlstm_jax.cells.conv_lstm import ConvLSTM
from tlstm_jax.cells.hm_lstm import HMLSTM
from tlstm_jax.cells.recurrent_dropout import RecurrentDropout
from tlstm_jax.cells.shapes import spatial_shape
from tlstm_jax.cells.zoneout import Zoneout
from tlstm_jax.models.adaptive_computation import AdaptiveComputation
from tlstm_jax.models.annealed_hm_lstm import AnnealedHMLSTM
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
from tlstm_jax.models.sequence import as_sequence
from tlstm_jax.models.skip_connections import SkipConnections
from tlstm_jax.models.sru import SRU
from tlstm_jax.models.wavenet import WaveNet
from tlstm_jax.zoo.kinds import kind_of
from tlstm_jax.zoo.makers import row_lstm

STEPS = 6  # of a segment


@dataclasses.dataclass(frozen=True, eq=False)
class ModelCase:
    """A model, and `oracle(params, xs) -> ys` for complete sequences outside training."""

    name: str
    model: Any
    oracle: Callable[[Any, np.ndarray], np.ndarray]
    size: int | tuple[int, ...] = I  # of its inputs; a tuple of maps
    state: Any = ()
    costs: frozenset[str] = frozenset()  # the names of what it adds to the loss
    resets: bool = True  # whether it takes `reset`

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.size if isinstance(self.size, tuple) else (self.size,)

    @property
    def takes_tokens(self) -> bool:
        if isinstance(self.size, tuple):
            return False
        bottom = self.model
        while isinstance(bottom, Chain | Stacked):
            bottom = bottom.layers[0] if isinstance(bottom, Chain) else bottom.cell
        return not isinstance(bottom, Residual) and getattr(bottom, "embed", True)


def _ys(cell_oracle, **settings):
    return lambda params, xs: cell_oracle(params, xs, **settings).ys


def _run(oracle):
    """The other way round, for oracles that take those of cells."""
    return lambda params, xs: oracles.Run(oracle(params, xs), [])


def _chain(*layers):
    def oracle(params, xs):
        for n, layer in enumerate(layers):
            xs = layer(params[f"layer_{n}"], xs)
        return xs

    return oracle


def _residual(inner):
    return lambda params, xs: model_oracles.residual(inner(params, xs), xs)


def _dilated(inner, dilation):
    return lambda params, xs: model_oracles.dilated(params, xs, _run(inner), dilation)


def _bidirectional(forward, backward):
    def oracle(params, xs):
        ahead = forward(params["forward"], xs)
        back = backward(params["backward"], xs[::-1])[::-1]
        return np.concatenate([ahead, back], axis=-1)

    return oracle


def _zoneout(hidden, memory):
    """Outside training: the masks are their means."""

    def oracle(params, xs):
        keep = [np.full((len(xs), xs.shape[1], 1), rate) for rate in (hidden, memory)]
        return model_oracles.zoneout_lstm(params, xs, *keep)

    return oracle


def _of(function, **settings):
    return functools.partial(function, **settings)


def _skip(*layers, size=I):
    return lambda params, xs: model_oracles.skip_connections(params, xs, layers, size)


def _adaptive(step, max_ponder):
    def oracle(params, xs):
        return model_oracles.adaptive_computation(params, xs, step, max_ponder=max_ponder)[0]

    return oracle


L, G, R = LSTM(M), GRU(M), Elman(M)
TLSTM, TRNN = (
    TensorizedLSTM(M, (3,), kernel_size=3),
    TensorizedRNN(M, (2,), kernel_size=2),
)  # delays 2 and 1
lstm, gru, elman = _ys(oracles.lstm), _ys(oracles.gru, reset_after=True), _ys(oracles.elman)
tlstm = _ys(
    oracles.tensorized, tensor_shape=(3,), kernel_size=3, gated=True, memory_convolution=True
)
trnn = _ys(oracles.tensorized, tensor_shape=(2,), kernel_size=2, gated=False)
ZONED = Zoneout(L, hidden=0.2, memory=0.3)
ALPHA = 1.5


def _qrnn(pooling, width):
    oracle = _of(model_oracles.qrnn, pooling=pooling, width=width)
    return ModelCase(f"qrnn-{pooling}-{width}", QRNN(M, pooling=pooling, width=width), oracle)


def _min_rnn(model, gates, positive):
    name = f"min-{'lstm' if gates == 2 else 'gru'}{'' if positive else '-signed'}"
    oracle = _of(model_oracles.min_rnn, gates=gates, positive=positive)
    return ModelCase(name, model(M, positive=positive), oracle)


def _sru(version, size):
    alpha = ALPHA if version == 2018 else None

    def oracle(params, xs):
        if xs.ndim == 2:  # as vectors, which it hands on
            xs = (xs[..., None] == np.arange(size)).astype(np.float64)
        return model_oracles.sru(params, xs, version=version, alpha=ALPHA)

    return ModelCase(f"sru-{version}-{size}", SRU(M, version=version, scale=alpha), oracle, size)


def _md_lstm(name, form, directions, *, columns=None, merge="sum", features=M):
    settings = {"cell": form, "directions": directions, "merge": merge}
    spatial = () if columns is None else (columns,)
    model = MultidimensionalLSTM(features, spatial_shape=spatial, **settings)
    oracle = _of(model_oracles.multidimensional_lstm, form=form, merge=merge)
    return ModelCase(f"md-{name}", model, oracle, I if columns is None else (columns, I))


MD = [
    _md_lstm("vectors", "lstm", 4),
    _md_lstm("vectors-below", "stable", 1),
    _md_lstm("4-stable", "stable", 2, columns=4),
    _md_lstm("3-leaky", "leaky", 1, columns=3),
    _md_lstm("2-all", "lstm", 4, columns=2),
    _md_lstm("3-all-leaky", "leaky", 4, columns=3, merge="concatenate", features=4),
]
MAP = (3, 2)
C = ConvLSTM(M, spatial_shape=MAP)
conv = _ys(zoo_oracles.conv_lstm)
ON_MAPS = [
    ModelCase("maps", as_sequence(C), conv, (*MAP, I)),
    ModelCase("maps-stacked", Stacked(C, 2), _chain(conv, conv), (*MAP, I)),
    ModelCase(
        "maps-shared",
        Stacked(C, 2, shared=True),
        lambda params, xs: oracles.stacked(params, xs, _run(conv), num_layers=2, shared=True).ys,
        (*MAP, I),
    ),
    ModelCase("maps-residual", Residual(C), _residual(conv), (*MAP, M)),
    ModelCase("maps-dilated", Dilated(C, 2), _dilated(conv, 2), (*MAP, I)),
    ModelCase("maps-bidirectional", Bidirectional(C, C), _bidirectional(conv, conv), (*MAP, I)),
    ModelCase("maps-dropout", Dropout(C, input_rate=0.3, output_rate=0.4), conv, (*MAP, I)),
    ModelCase("maps-skip", SkipConnections((C, C)), _skip(conv, conv), (*MAP, I)),
    ModelCase(
        "maps-recurrent-dropout", as_sequence(RecurrentDropout(C, rate=0.3)), conv, (*MAP, I)
    ),
    ModelCase(
        "rows",
        row_lstm(M, spatial_shape=(4,), residual=True),
        _chain(_ys(zoo_oracles.row_lstm, mask="A"), _residual(_ys(zoo_oracles.row_lstm, mask="B"))),
        (4, I),
    ),
    *(
        ModelCase(
            f"pyramid-{len(shape)}",
            PyramidLSTM(M, spatial_shape=shape, hidden=2),
            model_oracles.pyramid_lstm,
            (*shape, I),
            resets=False,
        )
        for shape in [(4,), (3, 2)]
    ),
]
PONDERING = {"costs": frozenset({"ponder"})}
ADAPTIVE = [
    ModelCase(
        "adaptive",
        AdaptiveComputation(L, max_ponder=5),
        _adaptive(model_oracles.lstm_step, 5),
        **PONDERING,
    ),
    ModelCase(
        "adaptive-chain",
        Chain((TRNN, AdaptiveComputation(R, max_ponder=2), Dilated(AdaptiveComputation(L), 2))),
        _chain(
            trnn,
            _adaptive(model_oracles.elman_step, 2),
            _dilated(_adaptive(model_oracles.lstm_step, 10), 2),
        ),
        **PONDERING,
    ),
]

SKIPPING = [
    ModelCase("skip", SkipConnections((L, G, R)), _skip(lstm, gru, elman)),
    ModelCase("skip-late", SkipConnections((R, TLSTM, TRNN, G)), _skip(elman, tlstm, trnn, gru)),
    ModelCase("skip-one", SkipConnections((TRNN,)), _skip(trnn)),
    ModelCase(
        "skip-bidirectional",
        SkipConnections((Bidirectional(R, G), TRNN, R)),
        _skip(_bidirectional(elman, gru), trnn, elman),
    ),
    ModelCase(
        "skip-behind",
        Chain(
            (
                TRNN,
                Dilated(SkipConnections((TRNN, LearnedCarry(G))), 2),
                SkipConnections((Residual(Elman(2 * M)), TRNN)),
            )
        ),
        _chain(
            trnn,
            _dilated(_skip(trnn, model_oracles.learned_carry_gru), 2),
            _skip(_residual(elman), trnn),
        ),
    ),
]


def _of_heads(name, model, **settings):
    """A model of two heads of two features, their keys of three, in chunks of four steps."""
    made = model(4, key_features=3, chunk_size=4, **settings)
    oracle = getattr(matrix_oracles, name.split("-")[0])
    return ModelCase(name, made, _of(oracle, num_heads=2, size=2, **settings))


HEADS = [
    _of_heads("gla", GLA),
    _of_heads("retnet", RetNet),
    _of_heads("hgrn2", HGRN2, lower_bound=0.2),
    _of_heads("delta_net", DeltaNet, gated=False, beta_range=1.0),
    _of_heads("delta_net-gated", DeltaNet, gated=True, beta_range=2.0),
    _of_heads("mamba2", Mamba2),
    _of_heads("rwkv7", RWKV7),
    _of_heads("matrix_lstm", MatrixLSTM),
]


def _block(inner, *, heads=1, **settings):
    """The equations of `models.block`."""

    def oracle(params, xs):
        return matrix_oracles.block(params, xs, inner, heads=heads, **settings)

    return oracle


BLOCKS = [
    ModelCase("block", Block(MinGRU(4), M), _block(_of(model_oracles.min_rnn))),
    ModelCase("block-same", Block(L, M, embed=False, conv_size=2), _block(lstm, conv_size=2), M),
    ModelCase("block-bare", Block(L, M, normalize=False, conv_size=1, gate=False), _block(lstm)),
    ModelCase(
        "block-heads",
        Chain((Block(GLA(4, chunk_size=2), M), Block(RGLRU(4), M, embed=False))),
        _chain(
            _block(_of(matrix_oracles.gla, num_heads=2, size=2), heads=2),
            _block(_of(state_space_oracles.rg_lru, num_heads=1)),
        ),
    ),
]

MODELS = [
    ModelCase("stacked", Stacked(L, 2), _chain(lstm, lstm)),
    ModelCase("stacked-tlstm", Stacked(TLSTM, 2), _chain(tlstm, tlstm)),
    ModelCase(
        "stacked-shared-trnn",
        Stacked(TRNN, 2, shared=True),
        lambda params, xs: oracles.stacked(params, xs, _run(trnn), num_layers=2, shared=True).ys,
    ),
    ModelCase("chain", Chain((L, TLSTM, G)), _chain(lstm, tlstm, gru)),
    ModelCase("residual", Residual(L), _residual(lstm), M),
    ModelCase("residual-trnn", Residual(TRNN), _residual(trnn), M),
    ModelCase("residual-chain", Residual(Chain((TLSTM, R))), _residual(_chain(tlstm, elman)), M),
    ModelCase("dropout", Dropout(L, input_rate=0.3, output_rate=0.4), lstm),
    ModelCase("dropout-trnn", Dropout(TRNN, input_rate=0.3, output_rate=0.4), trnn),
    ModelCase("learned-lstm", LearnedCarry(L), model_oracles.learned_carry_lstm),
    ModelCase("learned-gru", LearnedCarry(G), model_oracles.learned_carry_gru),
    ModelCase("dilated", Dilated(L, 2), _dilated(lstm, 2)),
    ModelCase("dilated-tlstm", Dilated(TLSTM, 2), _dilated(tlstm, 2)),
    ModelCase("dilated-chain", Dilated(Chain((TRNN, R)), 3), _dilated(_chain(trnn, elman), 3)),
    ModelCase(
        "dilated-learned",
        Dilated(LearnedCarry(G), 2),
        _dilated(model_oracles.learned_carry_gru, 2),
    ),
    ModelCase(
        "dilated-stack", dilated_stack((G,) * 3), _chain(gru, _dilated(gru, 2), _dilated(gru, 4))
    ),
    ModelCase("bidirectional", Bidirectional(L, G), _bidirectional(lstm, gru)),
    ModelCase("bidirectional-late", Bidirectional(TLSTM, TRNN), _bidirectional(tlstm, trnn)),
    ModelCase(
        "bidirectional-stack",
        Stacked(Bidirectional(R, G), 2),
        _chain(_bidirectional(elman, gru), _bidirectional(elman, gru)),
    ),
    ModelCase(
        "bidirectional-below",
        Chain((Bidirectional(R, G), TRNN, R)),
        _chain(_bidirectional(elman, gru), trnn, elman),
    ),
    ModelCase(
        "annealed-hm",
        AnnealedHMLSTM(HMLSTM(M, num_layers=2)),
        _ys(zoo_oracles.hm_lstm, num_layers=2, slope=3.0),
        state={"steps": np.float32(5000)},
    ),
    *(_sru(version, size) for version in (2017, 2018) for size in (M, I)),
    *(
        _min_rnn(model, gates, positive)
        for model, gates in ((MinGRU, 1), (MinLSTM, 2))
        for positive in (True, False)
    ),
    ModelCase("lru", LRU(M, state_features=3), model_oracles.lru),
    ModelCase("s5", S5(M, state_features=2), state_space_oracles.s5),
    ModelCase("s4d", S4D(M, state_features=2), state_space_oracles.s4d),
    ModelCase("mamba", Mamba(M, state_features=2, step_rank=2), state_space_oracles.mamba),
    ModelCase("rg_lru", RGLRU(4, num_heads=2), _of(state_space_oracles.rg_lru, num_heads=2)),
    *(_qrnn(*settings) for settings in [("f", 1), ("fo", 2), ("ifo", 3)]),
    ModelCase("pyramid", PyramidLSTM(M, hidden=2), model_oracles.pyramid_lstm),
    ModelCase(
        "wavenet",
        WaveNet(4, residual_features=M, dilations=(1, 2, 3)),
        _of(model_oracles.wavenet, dilations=(1, 2, 3)),
    ),
    *ADAPTIVE,
    *SKIPPING,
    ModelCase(
        "neural-gpu",
        NeuralGPU(M, width=2),
        _of(model_oracles.neural_gpu, width=2, num_layers=2),
    ),
    ModelCase(
        "neural-gpu-relaxed",
        NeuralGPU(M, width=3, num_layers=1, kernel_size=5, cutoff=1.0, relaxation=2, remat_every=4),
        _of(model_oracles.neural_gpu, width=3, num_layers=1, cutoff=1.0, copies=2),
        state={"steps": np.float32(5000)},
    ),
    ModelCase(
        "extended-neural-gpu",
        ExtendedNeuralGPU(M, width=2, num_outputs=4, relaxation=2, remat_every=4),
        _of(model_oracles.extended_neural_gpu, width=2, num_layers=2, copies=2),
        state={"steps": np.float32(5000)},
    ),
    ModelCase("zoneout", as_sequence(ZONED), _zoneout(0.2, 0.3)),
    ModelCase("recurrent-dropout", as_sequence(RecurrentDropout(L, rate=0.3)), lstm),
    ModelCase(
        "regularized",
        Stacked(Residual(Dropout(ZONED, input_rate=0.3, output_rate=0.3)), 2),
        _chain(_residual(_zoneout(0.2, 0.3)), _residual(_zoneout(0.2, 0.3))),
        M,
    ),
    *HEADS,
    *BLOCKS,
    *ON_MAPS,
    *MD,
    # Everything that has a state of its own, behind a delay: each starts when its first input
    # arrives.
    ModelCase(
        "late",
        Chain(
            (
                TRNN,
                QRNN(M, pooling="fo", width=2),
                SRU(M, version=2017),
                Dilated(G, 2),
                LearnedCarry(L),
            )
        ),
        _chain(
            trnn,
            _of(model_oracles.qrnn, pooling="fo", width=2),
            _of(model_oracles.sru, version=2017),
            _dilated(gru, 2),
            model_oracles.learned_carry_lstm,
        ),
    ),
    ModelCase(
        "late-wavenet",
        Chain((TRNN, WaveNet(M, dilations=(2,)), Residual(TRNN))),
        _chain(trnn, _of(model_oracles.wavenet, dilations=(2,)), _residual(trnn)),
    ),
]
BY_NAME = {case.name: case for case in MODELS}
CAUSAL = [case for case in MODELS if case.model.causal]
# Those of the short run, in tests over all.
SHORT = ["stacked-shared-trnn", "residual-trnn", "bidirectional-late", "qrnn-fo-2", "wavenet"]
SHORT += ["maps-residual", "md-2-all", "neural-gpu-relaxed", "learned-lstm", "skip-one"]


def with_parameters():
    """The types of the zoo's cells, and of models that are not made of cells or models."""
    models = [case.model for case in MODELS if kind_of(case.model) != "composed"]
    return {type(model) for model in [*models, *(case.cell for case in [*ZOO, *MAPS])]}


def each(cases):
    """Parametrizes a test by rows, given as rows or names."""
    cases = [BY_NAME[case] if isinstance(case, str) else case for case in cases]
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


@functools.cache
def model_params(case, seed=0):
    """Random float64 parameters, NumPy's."""
    return random_params(lambda key: case.model.init(key, case.size)[0], seed)


@functools.cache
def applied(case):
    """`case.model.apply`, compiled once for all tests that hand it the same shapes."""
    return jit(case.model.apply, static_argnames=("flush", "train"))


class Segment(NamedTuple):
    """What one call gets; beyond an example's length there is no input."""

    xs: np.ndarray
    lengths: np.ndarray
    reset: np.ndarray | None
    flush: bool = False


def segment(case, seed, *, lengths=None, resets=(), flush=False, inputs=vectors):
    """STEPS steps, of which `lengths` are real; `resets` are pairs (step, example)."""
    xs = inputs(steps=STEPS, size=case.size, seed=seed)
    lengths = np.full(B, STEPS) if lengths is None else np.array(lengths)
    reset = np.zeros((STEPS, B), bool)
    for step, example in resets:
        reset[step, example] = True
    for b, length in enumerate(lengths):
        xs[length:, b] = np.nan if xs.dtype == np.float64 else 99
    return Segment(xs, lengths, reset if case.resets else None, flush)


def start(case, batch_size=B, dtype=np.float64):
    return case.model.init_carry(batch_size, dtype, params=on_device(model_params(case)))


def run(case, segments, params=None):
    """(the last carry, each segment's ys), one call after the other."""
    params = on_device(model_params(case) if params is None else params)
    carry, outputs = start(case, segments[0].xs.shape[1]), []
    for s in segments:
        carry, ys, *_ = applied(case)(
            params, case.state, carry, s.xs, flush=s.flush, lengths=s.lengths, reset=s.reset
        )
        outputs.append(np.asarray(ys))
    return carry, outputs


def expected(case, segments):
    """What `run` has to give, from the oracle's answers to each example's parts alone.

    In a stream outputs lag by the delay, over the segments' ends. A reset drops those under way.
    """
    delay, params = case.model.delay, model_params(case)
    shape = *spatial_shape(case.model), case.model.features
    outputs = [np.zeros((*s.xs.shape[:2], *shape)) for s in segments]
    for b in range(segments[0].xs.shape[1]):
        parts, asked = [[]], []  # inputs from one start to the next; which answer is due where
        for s, ys in zip(segments, outputs, strict=True):
            reset = np.zeros(s.xs.shape[:2], bool) if s.reset is None else s.reset
            for t in range(s.lengths[b]):
                if reset[t, b]:
                    parts.append([])
                parts[-1].append(s.xs[t, b])
                index = len(parts[-1]) - 1
                if not s.flush and index >= delay:
                    asked.append((ys[t], len(parts) - 1, index - delay))
                if s.flush and not reset[t + 1 : t + delay + 1, b][: s.lengths[b] - t - 1].any():
                    asked.append((ys[t], len(parts) - 1, index))
        answers = [case.oracle(params, np.stack(part)[:, None]) if part else None for part in parts]
        for y, part, index in asked:
            y[b] = answers[part][index, 0]
    return outputs


def check(case, *segments):
    """Runs the segments, compares their outputs with the oracle's, and returns the last carry."""
    carry, outputs = run(case, segments)
    assert_close(outputs, expected(case, segments))
    return carry

"""What models refuse: settings, inputs, and things that do not go together."""

import re

import jax
import jax.numpy as jnp
import pytest
from cases import B, I, M, T
from model_cases import TLSTM, TRNN, ZONED, G, L, R

from tlstm_jax import LSTM, ResetBeforeGRU, Stacked, TensorizedLSTM
from tlstm_jax.cells.fast_slow_lstm import FastSlowLSTM
from tlstm_jax.cells.grid_lstm import GridLSTM
from tlstm_jax.cells.hm_lstm import HMLSTM
from tlstm_jax.cells.recurrent_dropout import RecurrentDropout
from tlstm_jax.cells.rhn import RHN
from tlstm_jax.cells.skip_rnn import SkipRNN
from tlstm_jax.cells.sru import SRUCell
from tlstm_jax.cells.zoneout import Zoneout
from tlstm_jax.models.annealed_hm_lstm import AnnealedHMLSTM
from tlstm_jax.models.bidirectional import Bidirectional
from tlstm_jax.models.chain import Chain
from tlstm_jax.models.dilated import Dilated, dilated_stack
from tlstm_jax.models.dropout import Dropout
from tlstm_jax.models.learned_carry import LearnedCarry
from tlstm_jax.models.multidimensional_lstm import MultidimensionalLSTM
from tlstm_jax.models.qrnn import QRNN
from tlstm_jax.models.residual import Residual
from tlstm_jax.models.sequence import as_sequence
from tlstm_jax.models.sru import SRU
from tlstm_jax.models.wavenet import WaveNet
from tlstm_jax.overrides import override

ONE_STATE = "has one state for its products and memory; accepted by RecurrentDropout are cells"
BOTH = Bidirectional(R, R)
SETTINGS = [
    (
        lambda: Zoneout(TLSTM, hidden=0.1),
        "TensorizedLSTM has a delay of 2; accepted by Zoneout are",
    ),
    (
        lambda: Zoneout(TensorizedLSTM(M, (1,)), hidden=0.1),
        "TensorizedLSTM carries a tensor; accepted by",
    ),
    (lambda: Zoneout(G, memory=0.1), "GRU has no memory in its carry; accepted is memory=0"),
    (
        lambda: Zoneout(SkipRNN(M), hidden=0.1),
        "SkipRNN has no hidden in its carry; accepted is hidden=0",
    ),
    (
        lambda: Zoneout(SRUCell(M), hidden=0.1),
        "SRUCell has no hidden in its carry; accepted is hidden=0",
    ),
    (lambda: Zoneout(L, hidden=1.0), "hidden is 1.0; accepted are rates in [0, 1)"),
    (lambda: Zoneout(L, hidden=0.1, memory=-0.1), "memory is -0.1; accepted are rates in [0, 1)"),
    (lambda: RecurrentDropout(L, rate=1.0), "rate is 1.0; accepted are rates in [0, 1)"),
    (lambda: RecurrentDropout(ResetBeforeGRU(M), rate=0.1), f"ResetBeforeGRU {ONE_STATE}"),
    (lambda: RecurrentDropout(RHN(M), rate=0.1), f"RHN {ONE_STATE}"),
    (lambda: RecurrentDropout(HMLSTM(M), rate=0.1), f"HMLSTM {ONE_STATE}"),  # it copies h
    (
        lambda: RecurrentDropout(Zoneout(GridLSTM(M, num_layers=2), hidden=0.1), rate=0.1),
        f"Zoneout {ONE_STATE}",
    ),
    (lambda: RecurrentDropout(SRUCell(M), rate=0.1), f"SRUCell {ONE_STATE}"),
    (lambda: FastSlowLSTM(M, zoneout_hidden=1), "zoneout_hidden is 1; accepted are rates in [0, 1"),
    (lambda: Dropout(L, input_rate=1.0), "input_rate is 1.0; accepted are rates in [0, 1)"),
    (
        lambda: Dropout(L, input_rate=0.0, output_rate=-0.5),
        "output_rate is -0.5; accepted are rates in [0, 1)",
    ),
    (
        lambda: Dropout(L, input_rate=float("nan")),
        "input_rate is nan; accepted are rates in [0, 1)",
    ),
    (
        lambda: LearnedCarry(TRNN),
        "TensorizedRNN has a delay of 1; accepted with a learned carry are cells without",
    ),
    (
        lambda: LearnedCarry(TensorizedLSTM(M, (1,))),
        "the carry of TensorizedLSTM has integers; accepted as a learned one are floats",
    ),
    (
        lambda: LearnedCarry(L, engine="fast"),
        "engine is 'fast'; accepted are auto, deferred, cudnn",
    ),
    (lambda: LearnedCarry(L, remat_every=0), "remat_every is 0; accepted are None and integers >="),
    (lambda: Dilated(L, 0), "dilation is 0; accepted are integers >= 1"),
    (lambda: dilated_stack(()), "layers is (); accepted are one or more cells or models"),
    (lambda: Chain(()), "layers is (); accepted are one or more cells or models"),
    (
        lambda: Chain((TRNN, L, BOTH)),
        "Bidirectional is not causal, and its inputs are 1 steps late; accepted above layers with "
        "a delay are causal ones",
    ),
    (
        lambda: Chain((TLSTM, Residual(Chain((BOTH, TRNN))))),
        "Residual is not causal, and its inputs are 2 steps late",
    ),
    (
        lambda: Stacked(TensorizedLSTM(M, (3,), kernel_size=2, normalization="layer"), 2),
        "TensorizedLSTM is not causal, and its inputs are 2 steps late",
    ),
    (lambda: Stacked(Chain((L, G)), 0), "num_layers is 0; accepted are integers >= 1"),
    (
        lambda: as_sequence(Chain((L,)), remat_every=2),
        "remat_every is given; accepted is that for cells",
    ),
    (
        lambda: AnnealedHMLSTM(HMLSTM(M), anneal_steps=0),
        "anneal_steps is 0; accepted are integers >= 1",
    ),
    (
        lambda: AnnealedHMLSTM(HMLSTM(M), engine="fast"),
        "engine is 'fast'; accepted are auto, deferred, cudnn",
    ),
    (lambda: SRU(M, version=2019), "version is 2019; accepted are 2017, 2018"),
    (
        lambda: SRU(M, version=2017, scale=1.0),
        "scale is 1.0; accepted in the version of 2017 is None",
    ),
    (lambda: SRU(0), "features is 0; accepted are integers >= 1"),
    (lambda: SRU(M, engine="fast"), "engine is 'fast'; accepted are auto, deferred, cudnn"),
    (lambda: MultidimensionalLSTM(0), "features is 0; accepted are integers >= 1"),
    (lambda: MultidimensionalLSTM(M, cell="gru"), "cell is 'gru'; accepted are lstm, stable, le"),
    (lambda: MultidimensionalLSTM(M, directions=3), "directions is 3; accepted are 1, 2, 4"),
    (lambda: MultidimensionalLSTM(M, merge="max"), "merge is 'max'; accepted are sum, concatenate"),
    (lambda: MultidimensionalLSTM(M, engine="fused"), "engine is 'fused'; accepted are auto, def"),
    (lambda: MultidimensionalLSTM(M, remat_every=0), "remat_every is 0; accepted are None and"),
    (
        lambda: MultidimensionalLSTM(6, merge="concatenate"),
        "features is 6; accepted of 4 directions side by side are multiples of their number",
    ),
    (
        lambda: MultidimensionalLSTM(M, spatial_shape=(2, 3)),
        "spatial_shape is (2, 3); accepted by MultidimensionalLSTM, which reads images row by row",
    ),
    (lambda: MultidimensionalLSTM(M, spatial_shape=(0,)), "spatial_shape is (0,); accepted are"),
    (lambda: QRNN(M, pooling="of"), "pooling is 'of'; accepted are f, fo, ifo"),
    (lambda: QRNN(M, width=0), "width is 0; accepted are integers >= 1"),
    (lambda: QRNN(2.5), "features is 2.5; accepted are integers >= 1"),
    (lambda: WaveNet(M, dilations=()), "dilations is (); accepted are one or more integers >= 1"),
    (lambda: WaveNet(M, dilations=(1, 0)), "dilations is (1, 0); accepted are one or more"),
    (lambda: WaveNet(0), "features is 0; accepted are integers >= 1"),
    (lambda: WaveNet(M, residual_features=0), "residual_features is 0; accepted are integers >= 1"),
]


@pytest.mark.parametrize(("make", "text"), SETTINGS)
def test_refuses_settings_that_make_no_sense(make, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        make()


def init(model):
    return jax.eval_shape(lambda key: model.init(key, I), jax.random.key(0))


def apply(model, xs, **options):
    params, state = init(model)

    def run(params, state):
        carry = model.init_carry(xs.shape[1], params=params)
        return model.apply(params, state, carry, xs, **options)[1]

    return jax.eval_shape(run, params, state)


VECTORS, TOKENS = jnp.zeros((T, B, I)), jnp.zeros((T, B), jnp.int32)
SAME_SIZE = Residual(Chain((L, QRNN(I))))
CALLS = [
    (
        lambda: init(Residual(L)),
        "a residual connection around 3 features has 2 inputs; accepted are as many as features",
    ),
    (
        lambda: apply(SAME_SIZE, TOKENS),
        "a residual connection was given tokens; accepted are vectors",
    ),
    (
        lambda: SAME_SIZE.token_step({}, (), (), TOKENS[0]),
        "a residual connection was given tokens; accepted are vectors",
    ),
    (
        lambda: apply(Bidirectional(TLSTM, TRNN), VECTORS, flush=False),
        "the two directions have delays of 2 and 1; accepted by Bidirectional in a stream",
    ),
    (
        lambda: init(Stacked(AnnealedHMLSTM(HMLSTM(M, num_layers=2)), 2, shared=True)),
        "AnnealedHMLSTM has a state besides its parameters; accepted with shared weights are "
        "models",
    ),
    (
        lambda: LearnedCarry(L).init_carry(B),
        "params is None; accepted with a learned carry are the parameters",
    ),
    (
        lambda: Stacked(LearnedCarry(L), 2).init_carry(B),
        "params is None; accepted with a learned carry are the parameters",
    ),
    (
        lambda: init(MultidimensionalLSTM(M, spatial_shape=(4,))),
        "input_shape is 2; accepted by MultidimensionalLSTM with spatial_shape (4,) is (4, I)",
    ),
    (
        lambda: override(SRU(M), {"highway": 1.0}),
        "override names highway; accepted for SRU are input_scale",
    ),
]


@pytest.mark.parametrize(("call", "text"), CALLS)
def test_refuses_what_does_not_go_together(call, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        call()


MODELS = [
    Residual(Chain((R, QRNN(I)))),
    Dilated(L, 2),
    Dropout(QRNN(M)),
    SRU(M, version=2017),
    WaveNet(M),
]
MODELS += [Chain((TRNN, G)), BOTH, Chain((SRU(M),)), QRNN(M)]
SHAPES = [
    (
        {"xs": jnp.zeros((T, B))},
        "xs has shape (5, 2); accepted are [T, B, .., I] floats and [T, B]",
    ),
    ({"xs": jnp.zeros((0, B, I))}, "xs has shape (0, 2, 2); accepted are T >= 1 steps"),
    ({"lengths": jnp.zeros((3,), jnp.int32)}, "lengths has shape (3,); accepted is [B] = (2,)"),
    ({"reset": jnp.zeros((B,), bool)}, "reset has shape (2,); accepted is [T, B] = (5, 2)"),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize(
    ("changed", "text"), SHAPES, ids=lambda x: "" if isinstance(x, str) else "-".join(x)
)
def test_refuses_shapes_that_do_not_fit(model, changed, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        apply(model, **({"xs": VECTORS} | changed))


DRAWING = {
    "Dropout": [
        Dropout(L, input_rate=0.3),
        Dropout(L, input_rate=0.0, output_rate=0.3),
        Stacked(Dropout(L, input_rate=0.3), 2),
        Residual(Dropout(LSTM_OF_INPUTS := LSTM(I), input_rate=0.3)),
        Chain((TRNN, Dropout(G, input_rate=0.3))),
        Dilated(Dropout(L, input_rate=0.3), 2),
        Bidirectional(L, Dropout(L, input_rate=0.3)),
    ],
    "Zoneout": [ZONED, Dropout(ZONED), Stacked(Residual(Zoneout(LSTM_OF_INPUTS, hidden=0.1)), 2)],
    "RecurrentDropout": [
        RecurrentDropout(TLSTM, rate=0.3),
        LearnedCarry(RecurrentDropout(G, rate=0.3)),
    ],
    "FastSlowLSTM": [FastSlowLSTM(M, slow_features=2, num_fast=2, zoneout_hidden=0.3)],
}


@pytest.mark.parametrize(
    ("name", "model"), [(name, model) for name, models in DRAWING.items() for model in models]
)
def test_refuses_to_be_trained_without_a_key(name, model):
    model = as_sequence(model)
    with pytest.raises(ValueError, match=f"^key is None; accepted by {name}, which draws"):
        apply(model, VECTORS, train=True)
    apply(model, VECTORS, train=True, key=jax.random.key(0))
    apply(model, VECTORS)

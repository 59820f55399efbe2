"""What does not fit a cell or model is refused at the border, in one line."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, B, I, M, T, assert_close, input_shape_of, jit, on_device, vectors
from cases import SHORT as CELLS
from flax import linen as nn
from flax import nnx
from model_cases import BY_NAME, MODELS, SHORT, ModelCase, each, model_params

from tlstm_jax import (
    GRU,
    LSTM,
    MILSTM,
    AdaptiveComputation,
    Bidirectional,
    Chain,
    Dropout,
    LearnedCarry,
    Network,
    RecurrentDropout,
    Residual,
    Stacked,
    TensorizedLSTM,
    TensorizedRNN,
    Zoneout,
    as_sequence,
    generate,
    linen,
    unroll,
)
from tlstm_jax import nnx as tlstm_nnx
from tlstm_jax.models.batch_norm_lstm import BatchNormLSTM
from tlstm_jax.models.dilated import Dilated
from tlstm_jax.models.wavenet import WaveNet

ALL = [
    *MODELS,
    *(
        ModelCase(case.name, as_sequence(case.cell), None, input_shape_of(case.cell))
        for case in CASES
    ),
    ModelCase("batch-norm", BatchNormLSTM(M), None),
]
RATES = [
    "rate",
    "input_rate",
    "recurrent_dropout",
    "output_rate",
    "hidden",
    "memory",
    "zoneout_hidden",
    "zoneout_memory",
]
FEW = ["stacked", "dropout", "dilated", "bidirectional", "qrnn-fo-2", "wavenet"]


def shapes(case, batch_size=B):
    """(params, state, carry, xs) as shapes alone."""
    key = jax.random.key(0)
    params, state = jax.eval_shape(lambda: case.model.init(key, case.size))
    carry = jax.eval_shape(lambda p: case.model.init_carry(batch_size, params=p), params)
    return params, state, carry, jax.ShapeDtypeStruct((T, B, *case.sizes), jnp.float32)


def refuses(case, message, params, state, carry, xs, **options):
    with pytest.raises(ValueError, match=message) as error:
        jax.eval_shape(lambda *x: case.model.apply(*x, **options), params, state, carry, xs)
    assert "\n" not in str(error.value)


def altered(tree, change):
    """A tree for each leaf that `change` changes."""
    leaves, structure = jax.tree.flatten(tree)
    for n, leaf in enumerate(leaves):
        if (new := change(leaf)) is not None:
            yield structure.unflatten([*leaves[:n], new, *leaves[n + 1 :]])


def with_shape(leaf, shape, dtype=None):
    return jax.ShapeDtypeStruct(shape, dtype or leaf.dtype)


@pytest.mark.slow(but=[*CELLS, *SHORT])
@each(ALL)
def test_parameters_of_other_shapes_names_or_kinds_are_refused(case):
    params, *rest = shapes(case)
    for axis in (0, -1):

        def longer(leaf, axis=axis):
            shape = list(leaf.shape)
            shape[axis] += 1
            return with_shape(leaf, tuple(shape))

        for other in altered(params, longer):
            refuses(
                case,
                r"^params\[.* has shape .*; accepted by \w+ with .* inputs is \(",
                other,
                *rest,
            )
    for other in altered(params, lambda leaf: with_shape(leaf, leaf.shape, jnp.complex64)):
        refuses(case, "^params.* has dtype complex64; accepted are floats", other, *rest)
    refuses(case, "^params has .*more.*; accepted by", {**params, "more": params}, *rest)
    less = dict(params)
    less.pop(next(iter(params)))
    refuses(case, "^params lacks .*; accepted by", less, *rest)


@pytest.mark.slow(but=[*CELLS, *SHORT])
@each(ALL)
def test_a_carry_of_another_batch_or_model_is_refused(case):
    params, state, carry, xs = shapes(case)
    for batch_size in (1, B + 1) if jax.tree.leaves(carry) else ():
        _, _, other, _ = shapes(case, batch_size)
        refuses(case, rf"^carry.* has shape \({batch_size}.* accepted by", params, state, other, xs)
    for other in altered(carry, lambda leaf: with_shape(leaf, (*leaf.shape, 1))):
        refuses(case, r"^carry.* accepted by \w+ for a batch of 2 is \(2", params, state, other, xs)
    for other in altered(carry, lambda leaf: with_shape(leaf, leaf.shape, jnp.complex64)):
        refuses(case, "^carry.* has dtype complex64; accepted are", params, state, other, xs)
    refuses(case, "^carry is .*; accepted by", params, state, [carry], xs)


@pytest.mark.slow(but=[*CELLS, *SHORT])
@each(ALL)
def test_inputs_that_are_none_are_refused(case):
    params, state, carry, xs = shapes(case)
    good = (params, state, carry)
    for dtype in (jnp.complex64, jnp.uint32):
        refuses(case, "^xs has (dtype|shape)", *good, with_shape(xs, xs.shape, dtype))
    for empty, what in ((0, "T >= 1"), (1, "B >= 1"), (-1, "I >= 1")):
        shape = list(xs.shape)
        shape[empty] = 0
        refuses(case, f"^xs has shape .* accepted are {what}", *good, with_shape(xs, tuple(shape)))
    with pytest.raises(ValueError, match=r"^xs is a list; accepted are arrays"):
        case.model.apply({}, case.state, (), [[[0.0]]])


@pytest.mark.slow(but=[*CELLS, *SHORT])
@each(ALL)
def test_lengths_and_resets_of_other_kinds_are_refused(case):
    good = shapes(case)
    for lengths in (jnp.ones(B), jnp.ones(B, bool), [1.0, 2.0]):
        refuses(case, "^lengths has dtype .*; accepted are integers", *good, lengths=lengths)
    refuses(case, r"^lengths has shape \(3,\); accepted is \[B\]", *good, lengths=[1, 2, 3])
    for reset in (jnp.ones((T, B)), jnp.ones((T, B), jnp.int32)):
        refuses(case, "^reset has dtype .*; accepted are booleans", *good, reset=reset)
    refuses(case, r"^reset has shape \(2,\); accepted is \[T, B\]", *good, reset=jnp.ones(B, bool))


@each(FEW)
def test_lengths_may_be_a_list_or_of_few_bits(case, x64):
    params = on_device(model_params(case))
    carry = case.model.init_carry(B, jnp.float64, params=params)
    xs = jnp.asarray(vectors(steps=300, size=case.size))

    @jit
    def run(params, carry, xs):
        kinds = jnp.array([3, 200]), [3, 200], np.array([3, 200], np.uint8)
        apply = functools.partial(case.model.apply, params, case.state, carry, xs)
        return [apply(lengths=lengths)[:2] for lengths in kinds]

    expected, *others = run(params, carry, xs)
    for other in others:
        assert_close(other, expected)


@pytest.mark.slow(but=[*CELLS, *SHORT])
@each(ALL)
def test_an_input_size_that_is_none_is_refused(case):
    for size in (0, -1, 2.5, None):
        with pytest.raises(
            ValueError, match=r"inputs|input_shape is .*; accepted are integers >= 1"
        ):
            case.model.init(jax.random.key(0), size)


def test_the_check_serves_flax_modules_networks_and_unroll_alike():
    xs, other = jnp.ones((B, T, I)), LSTM(M).init_carry(B + 1)
    message = r"^carry.hidden has shape \(3, 3\); accepted by LSTM for a batch of 2 is \(2, 3\)"
    network = Network(LSTM(M), I, 4)
    params, _ = network.init(jax.random.key(0))
    for call in (
        lambda: linen.Recurrent(LSTM(M)).init(jax.random.key(0), xs, initial_carry=other),
        lambda: nn.RNN(linen.Cell(LSTM(M))).init(jax.random.key(0), xs, initial_carry=other),
        lambda: tlstm_nnx.Recurrent(LSTM(M), I, rngs=nnx.Rngs(0))(xs, initial_carry=other),
        lambda: tlstm_nnx.Cell(LSTM(M), I, rngs=nnx.Rngs(0))(other, xs[:, 0]),
        lambda: unroll(LSTM(M), params["model"], other, jnp.ones((T, B, I))),
        lambda: network.apply(params, (), other, jnp.ones((T, B, I))),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_network_refuses_parameters_of_another():
    network, carry, xs = (
        Network(LSTM(M), I, 4, tokens=True),
        LSTM(M).init_carry(B),
        jnp.ones((T, B), int),
    )
    for other, message in (
        (
            Network(LSTM(M), I + 1, 4),
            r"^params\['model'\]\['input'\]\['kernel'\] has shape \(3, 12\)",
        ),
        (Network(LSTM(M), I, 5), r"^params\['readout'\]\['bias'\] has shape \(5,\)"),
    ):
        params, _ = other.init(jax.random.key(0))
        with pytest.raises(ValueError, match=message):
            network.apply(params, (), carry, xs)
    with pytest.raises(ValueError, match=r"^params lacks \['model'\]"):
        network.apply(params["model"], (), carry, xs)
    with pytest.raises(ValueError, match=r"^params.* has shape \(2, 12\)"):
        generate(Network(LSTM(M), 4, 4, tokens=True), params, (), xs, 1)


def test_parameters_of_a_relative_are_refused():
    """Their names and shapes hold the LSTM's."""
    params = MILSTM(M).init(jax.random.key(0), I)
    with pytest.raises(ValueError, match=r"^params has .*; accepted by LSTM"):
        unroll(LSTM(M), params, LSTM(M).init_carry(B), jnp.ones((T, B, I)))


@pytest.mark.parametrize("cell", [TensorizedLSTM, TensorizedRNN])
@pytest.mark.parametrize("kernel_size", [2, 4])
@pytest.mark.parametrize("tokens", [False, True])
def test_a_kernel_of_another_size_is_refused(cell, kernel_size, tokens):
    params = cell(
        M,
        (3,),
        kernel_size=kernel_size,
        **({"memory_convolution": False} if cell is TensorizedLSTM else {}),
    )
    params = params.init(jax.random.key(0), I)
    cell = cell(
        M, (3,), kernel_size=3, **({"memory_convolution": False} if cell is TensorizedLSTM else {})
    )
    xs = jnp.ones((T, B), int) if tokens else jnp.ones((T, B, I))
    with pytest.raises(ValueError, match=r"^params\['cross_layer'\]\['kernel'\] has shape"):
        unroll(cell, params, cell.init_carry(B), xs)


def test_an_initial_carry_for_resets_is_checked_too():
    cell = GRU(M)
    params, reset = cell.init(jax.random.key(0), I), jnp.ones((T, B), bool)
    with pytest.raises(ValueError, match=r"^initial.* has shape \(1, 3\)"):
        unroll(
            cell,
            params,
            cell.init_carry(B),
            jnp.ones((T, B, I)),
            reset=reset,
            initial=cell.init_carry(1),
        )


def test_a_state_that_is_missing_is_refused():
    model = BatchNormLSTM(M, max_steps=3)
    params, _ = model.init(jax.random.key(0), I)
    carry, xs = model.init_carry(B), jnp.ones((T, B, I))
    with pytest.raises(ValueError, match=r"^state lacks .*; accepted by BatchNormLSTM"):
        model.apply(params, (), carry, xs)
    _, state = BatchNormLSTM(M, max_steps=4).init(jax.random.key(0), I)
    with pytest.raises(ValueError, match=r"^state.* has shape \(4, .*; accepted by BatchNormLSTM"):
        model.apply(params, state, carry, xs)


def test_the_check_adds_nothing_to_what_is_compiled():
    cell = LSTM(M)
    params, carry = cell.init(jax.random.key(0), I), cell.init_carry(B)
    text = str(
        jax.make_jaxpr(lambda p, c, x: unroll(cell, p, c, x))(params, carry, jnp.ones((T, B, I)))
    )
    assert "random" not in text and "qr" not in text


def test_sizes_that_are_not_known_are_not_compared():
    cell = LSTM(M)
    params = cell.init(jax.random.key(0), I)
    t, b = jax.export.symbolic_shape("t, b")
    xs = jax.ShapeDtypeStruct((t, b, I), jnp.float32)
    carry = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((b, M), leaf.dtype), cell.init_carry(1))

    def run(carry, xs):
        return unroll(cell, params, carry, xs, engine="scan")[1]

    exported = jax.export.export(jax.jit(run))(carry, xs)
    xs = jnp.asarray(vectors(), jnp.float32)
    assert_close(exported.call(cell.init_carry(B), xs), run(cell.init_carry(B), xs), 1e-6)


@pytest.mark.parametrize("size", [3, None, (), (3, 0), (2.5,), "33"])
def test_tensor_shapes_and_dilations_that_are_none_are_refused(size):
    for make, name in ((TensorizedLSTM, "tensor_shape"), (TensorizedRNN, "tensor_shape")):
        with pytest.raises(ValueError, match=f"^{name} is .*; accepted are one or more"):
            make(M, size)
    with pytest.raises(
        ValueError, match=r"^dilations is .*; accepted are one or more integers >= 1"
    ):
        WaveNet(M, dilations=size)


def test_lists_of_layers_and_sizes_are_tuples():
    assert Chain([LSTM(M), GRU(M)]) == Chain((LSTM(M), GRU(M)))
    assert WaveNet(M, dilations=[1, 2]) == WaveNet(M, dilations=(1, 2))
    assert TensorizedLSTM(M, [3, 2]) == TensorizedLSTM(M, (3, 2))
    for layers in ([], 3, LSTM(M)):
        with pytest.raises(
            ValueError, match=r"^layers is .*; accepted are one or more cells or models"
        ):
            Chain(layers)


@pytest.mark.parametrize(
    "one", [jnp.float32(1.0), np.float32(1.0), np.array(1.0), jnp.ones((), int)]
)
def test_numbers_of_any_library_are_hashed_alike(one):

    checked = 0
    for model in [*(case.cell for case in CASES), *(case.model for case in MODELS)]:
        for field in dataclasses.fields(model):
            if (
                field.type not in (float, float | None)
                or field.name in RATES
                or (isinstance(model, AdaptiveComputation) and field.name == "epsilon")  # below 1
                or field.name in ("min_radius", "min_step", "lower_bound")  # below 1
                or getattr(model, "version", 0) == 2017
            ):
                continue
            with_one = dataclasses.replace(model, **{field.name: one})
            same = dataclasses.replace(model, **{field.name: 1.0})
            assert with_one == same and hash(with_one) == hash(same)
            checked += 1
    assert checked > 40
    half = jnp.float32(0.5)
    hash(
        (
            Zoneout(LSTM(M), hidden=half, memory=half),
            Dropout(LSTM(M), input_rate=half),
            RecurrentDropout(LSTM(M), rate=half),
        )
    )


def test_settings_that_are_no_number_are_refused():
    for value in (jnp.ones(3), np.ones((1,)), [1.0]):
        with pytest.raises(ValueError, match=r"^forget_bias is .*; accepted are numbers"):
            LSTM(M, forget_bias=value)


@pytest.mark.parametrize("model", [64, None, "lstm", LSTM, nn.LSTMCell(8), nn.RNN(nn.LSTMCell(8))])
def test_what_is_no_model_is_refused(model):
    message = r"^\S+ is .*; accepted are cells (and models )?of tlstm_jax, or of its protocols?"
    for make in (
        as_sequence,
        linen.Recurrent,
        linen.Cell,
        Residual,
        Dropout,
        Zoneout,
        LearnedCarry,
        lambda model: Stacked(model, 2),
        lambda model: Chain((LSTM(M), model)),
        lambda model: Bidirectional(LSTM(M), model),
        lambda model: Dilated(model, 2),
        lambda model: RecurrentDropout(model, rate=0.5),
        lambda model: Network(model, I, 4),
        lambda model: tlstm_nnx.Recurrent(model, I, rngs=nnx.Rngs(0)),
        lambda model: tlstm_nnx.Cell(model, I, rngs=nnx.Rngs(0)),
        lambda model: unroll(model, {}, (), jnp.ones((T, B, I))),
    ):
        with pytest.raises(ValueError, match=message):
            make(model)


def test_a_wrapper_of_cells_refuses_models():
    for make in (Zoneout, LearnedCarry, lambda model: RecurrentDropout(model, rate=0.5)):
        with pytest.raises(ValueError, match=r"^cell is .*; accepted are cells of tlstm_jax"):
            make(BY_NAME["stacked"].model)

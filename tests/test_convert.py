"""Weights in and out: Flax's cells live, torch's names from the recorded file."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import B, I, M, assert_close, cell_params, on_device, random_params, vectors
from flax import linen, nnx

from tlstm_jax import GRU, LSTM, Elman, Stacked, unroll
from tlstm_jax.convert import FLAX, from_flax, from_torch, to_flax, to_torch

RECORDED = pathlib.Path(__file__).parent / "data" / "torch_recurrent.npz"
CELLS = {"rnn": Elman(M), "lstm": LSTM(M), "gru": GRU(M)}
each_flax_cell = pytest.mark.parametrize("name", FLAX)


def float32(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), tree)


def assert_equal(actual, expected):
    """Structure, dtypes and every bit."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def peer(name):
    """Flax's cell: random parameters in its own tree, and a function of (params, xs [T, B, I])."""
    library, kind = name.split(".")
    if library == "linen":
        cell = getattr(linen, kind)(M)
        carry, x = cell.initialize_carry(jax.random.key(0), (B, I)), jnp.zeros((B, I))
        params = random_params(lambda key: cell.init(key, carry, x)["params"])

        def run(params, xs):
            rnn = linen.RNN(cell, time_major=True)
            return rnn.apply({"params": {"cell": params}}, xs)

        return float32(params), run

    cell = getattr(nnx, kind)(I, M, rngs=nnx.Rngs(0))
    params = random_params(lambda _: nnx.to_pure_dict(nnx.state(cell, nnx.Param)))

    def run(params, xs):
        nnx.update(cell, params)
        return nnx.RNN(cell, time_major=True)(xs)

    return float32(params), run


def outputs(name, params, xs):
    cell = CELLS[FLAX[name][0]]
    return unroll(cell, on_device(params), cell.init_carry(B), xs)[1]


def own_params(name):
    params = float32(cell_params(CELLS[FLAX[name][0]]))
    if name == "nnx.GRUCell":
        params["recurrent"]["bias"] *= 0
    return params


@each_flax_cell
def test_same_outputs_with_the_weights_of_flax(name):
    (params, run), xs = peer(name), jnp.asarray(vectors(), jnp.float32)
    assert_close(outputs(name, from_flax(name, params), xs), run(on_device(params), xs), 1e-5)


@each_flax_cell
def test_same_outputs_with_our_weights(name):
    params, xs = own_params(name), jnp.asarray(vectors(), jnp.float32)
    (own, run), converted = peer(name), to_flax(name, params)
    assert jax.tree.map(np.shape, converted) == jax.tree.map(np.shape, own)
    assert_close(run(on_device(converted), xs), outputs(name, params, xs), 1e-5)


@each_flax_cell
def test_round_trips_of_flax_are_exact(name):
    (theirs, _), ours = peer(name), own_params(name)
    assert_equal(to_flax(name, from_flax(name, theirs)), theirs)
    assert_equal(from_flax(name, to_flax(name, ours)), ours)


def two_directions(kind, input_size=I):
    sides = zip(("forward", "backward"), (1, 2), strict=True)
    return {side: cell_params(CELLS[kind], input_size, seed) for side, seed in sides}


def stack(kind):
    model = Stacked(CELLS[kind], 3)
    return random_params(lambda key: model.init(key, I)[0])


LAYOUTS = {
    "cell": lambda kind: cell_params(CELLS[kind]),
    "stack": stack,
    "two directions": two_directions,
    "stack of two directions": lambda kind: {
        "layer_0": two_directions(kind),
        "layer_1": two_directions(kind, 2 * M),
    },
}


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", CELLS)
def test_round_trips_of_torch_are_exact(kind, layout, dtype):
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), LAYOUTS[layout](kind))
    assert_equal(from_torch(kind, to_torch(kind, params)), params)


def test_names_of_torch():
    params = {"layer_0": two_directions("lstm"), "layer_1": two_directions("lstm", 2 * M)}
    arrays = to_torch("lstm", params)
    assert list(arrays) == [
        f"{part}_l{n}{direction}"
        for n in range(2)
        for direction in ("", "_reverse")
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    expected = params["layer_1"]["backward"]["input"]["kernel"].T
    np.testing.assert_array_equal(arrays["weight_ih_l1_reverse"], expected)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "lstm-3", "gru-2"])
def test_recorded_names_and_shapes_of_torch(name):
    """And the weights, but for how the sum of the two biases is shared out."""
    kind = name.split("-")[0]
    with np.load(RECORDED, allow_pickle=False) as recorded:
        weights = {
            key.split("/")[1]: recorded[key]
            for key in recorded
            if key.startswith((f"{name}/weight_", f"{name}/bias_"))
        }
    arrays = to_torch(kind, from_torch(kind, weights))
    assert jax.tree.map(np.shape, arrays) == jax.tree.map(np.shape, weights)
    for key in weights:
        if key.startswith("weight_"):
            np.testing.assert_array_equal(arrays[key], weights[key])
        else:
            pair = [key.replace("_ih_", "_hh_"), key.replace("_hh_", "_ih_")]
            sums = [sum(tree[bias] for bias in pair) for tree in (arrays, weights)]
            assert_close(*sums)
    if kind == "gru":
        candidate = slice(2 * weights["weight_hh_l0"].shape[1], None)
        bias = "bias_hh_l0"
        np.testing.assert_array_equal(arrays[bias][candidate], weights[bias][candidate])


@pytest.mark.parametrize("kind", CELLS)
def test_one_step_modules_and_modules_without_bias(kind):
    params = float32(cell_params(CELLS[kind]))
    arrays = to_torch(kind, params)
    step = {key.removesuffix("_l0"): array for key, array in arrays.items()}
    assert_equal(from_torch(kind, step), params)
    without = {key: array for key, array in arrays.items() if key.startswith("weight_")}
    zero = {key: array * key.startswith("weight_") for key, array in arrays.items()}
    assert_equal(from_torch(kind, without), from_torch(kind, zero))


@pytest.mark.parametrize(
    "convert",
    [
        lambda params: from_torch("gru", to_torch("gru", params)),
        lambda params: to_torch("gru", params),
        lambda params: to_flax("linen.GRUCell", params),
        lambda params: from_flax("linen.GRUCell", to_flax("linen.GRUCell", params)),
    ],
)
def test_what_is_returned_shares_no_memory_and_may_be_written_to(convert):
    params = cell_params(GRU(M))
    before = jax.tree.map(np.copy, params)
    for leaf in jax.tree.leaves(convert(params)):
        leaf[...] = 0
    assert_equal(params, before)


def test_jax_arrays_stay_on_the_device_and_may_be_traced():
    params = on_device(float32(cell_params(GRU(M))))
    converted = jax.jit(lambda params: to_flax("linen.GRUCell", params))(params)
    back = jax.jit(lambda params: from_flax("linen.GRUCell", params))(converted)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(back))
    assert_equal(back, params)
    arrays = to_torch("gru", params)
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    assert_equal(from_torch("gru", on_device(arrays)), params)


def lstm_arrays(**changes):
    arrays = to_torch("lstm", LAYOUTS["stack"]("lstm")) | changes
    return {key: array for key, array in arrays.items() if array is not None}


def lstm_params(entry, array):
    params = LAYOUTS["stack of two directions"]("lstm")
    *path, last = entry.split("/")
    node = params
    for part in path:
        node = node[part]
    node[last] = array
    return params


SHARED = random_params(lambda key: Stacked(LSTM(M), 2, shared=True).init(key, I)[0])


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (lambda: from_torch("LSTM", {}), r"kind is 'LSTM'; accepted are 'gru', 'lstm', 'rnn'$"),
        (lambda: to_torch("elman", {}), r"kind is 'elman'; accepted are 'gru', 'lstm', 'rnn'$"),
        (
            lambda: from_flax("LSTMCell", {}),
            r"cell is 'LSTMCell'; accepted are 'linen\.LSTMCell', ",
        ),
        (lambda: to_flax("lstm", {}), r"cell is 'lstm'; accepted are 'linen\.LSTMCell', "),
        (
            lambda: from_torch("lstm", {}),
            r"^state_dict lacks weight_ih_l0; accepted is that of torch\.nn\.LSTM without "
            r"proj_size$",
        ),
        (
            lambda: from_torch("lstm", lstm_arrays(bias_hh_l1=None)),
            r"^state_dict lacks bias_hh_l1; accepted is that of torch\.nn\.LSTM ",
        ),
        (
            lambda: from_torch("lstm", lstm_arrays(weight_hr_l0=np.ones((2, M)))),
            "^state_dict has an unexpected weight_hr_l0; accepted is .* without proj_size$",
        ),
        (
            lambda: from_torch("lstm", {f"rnn.{k}": v for k, v in lstm_arrays().items()}),
            r"lacks weight_ih_l0 and has an unexpected rnn\.weight_ih_l0; accepted is",
        ),
        (
            lambda: from_torch("gru", lstm_arrays()),
            r"^weight_ih_l0 has shape \(12, 2\); accepted for gru is \(9, 2\)$",
        ),
        (
            lambda: from_torch("lstm", lstm_arrays(weight_ih_l2=np.ones((12, 4)))),
            r"^weight_ih_l2 has shape \(12, 4\); accepted for lstm is \(12, 3\)$",
        ),
        (
            lambda: from_torch("lstm", lstm_arrays(bias_hh_l1=np.ones(11))),
            r"^bias_hh_l1 has shape \(11,\); accepted for lstm is \(12,\)$",
        ),
        (
            lambda: from_torch("lstm", lstm_arrays(weight_hh_l0=np.ones(12))),
            r"^weight_hh_l0 has shape \(12,\); accepted is one of 2 axes$",
        ),
        (
            lambda: from_torch("lstm", lstm_arrays(weight_hh_l0=[[1.0]])),
            "^weight_hh_l0 is a list; accepted are NumPy and jax arrays$",
        ),
        (
            lambda: to_torch("lstm", SHARED),
            r"lacks recurrent/kernel and has an unexpected .*; accepted is the tree of one lstm "
            "cell, "
            r"or \{forward, backward\}, \{layer_0, \.\.\} of it$",
        ),
        (
            lambda: to_torch("gru", cell_params(LSTM(M))),
            "^params lacks input/bias; accepted is the tree of one gru cell",
        ),
        (
            lambda: to_torch("rnn", cell_params(LSTM(M))),
            r"^input/kernel has shape \(2, 12\); accepted for rnn is \(2, 3\)$",
        ),
        (
            lambda: to_torch("lstm", {"forward": cell_params(LSTM(M))}),
            "^params lacks backward/input/kernel; accepted",
        ),
        (
            lambda: to_torch(
                "lstm", lstm_params("layer_1/backward/input/kernel", np.ones((3, 12)))
            ),
            r"^layer_1/backward/input/kernel has shape \(3, 12\); accepted for lstm is \(6, 12\)$",
        ),
        (
            lambda: to_flax("linen.LSTMCell", stack("lstm")),
            r"^params lacks input/kernel and has an unexpected layer_0/input/kernel; accepted is "
            "the "
            "tree of one lstm cell, input/kernel, recurrent/kernel, recurrent/bias$",
        ),
        (
            lambda: to_flax("nnx.SimpleCell", cell_params(LSTM(M))),
            r"^input/kernel has shape \(2, 12\); accepted for rnn is \(2, 3\)$",
        ),
        (
            lambda: to_flax("nnx.GRUCell", cell_params(GRU(M))),
            r"^recurrent/bias is not zero; accepted is zero, as nnx\.GRUCell has none$",
        ),
        (
            lambda: from_flax("nnx.SimpleCell", peer("linen.SimpleCell")[0]),
            r"^params lacks dense_i/kernel and has an unexpected h/kernel; accepted is that of "
            r"nnx\.SimpleCell, dense_i/kernel, dense_h/kernel, dense_i/bias$",
        ),
        (
            lambda: from_flax(
                "linen.GRUCell", peer("linen.GRUCell")[0] | {"hz": {"kernel": np.ones((3, 4))}}
            ),
            r"^hz/kernel has shape \(3, 4\); accepted for linen\.GRUCell is \(3, 3\)$",
        ),
        (
            lambda: from_flax("nnx.GRUCell", nnx.state(nnx.GRUCell(I, M, rngs=nnx.Rngs(0)))),
            r"^dense_i/kernel is a Param; accepted are NumPy and jax arrays$",
        ),
    ],
)
def test_refusals(refused, message):
    with pytest.raises(ValueError, match=message):
        refused()

"""The Row LSTM: what a pixel's output depends on, identities, and images drawn from it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import B, I, M, T, assert_close, cell_params, jit, on_device, random_params, run, vectors

from tlstm_jax import LSTM, Chain, Network, RowLSTM, Stacked, generate_rows, zoo
from tlstm_jax.generation import rows as of_rows

W, H = 6, 5
MASKS = pytest.mark.parametrize("mask", ["A", "B", "none"])


def dependence(model):
    """[H, W, H, W]: whether y at (r, c) changes with x at (r', c'), by the gradients."""
    params = on_device(random_params(lambda key: model.init(key, (W, 1))[0]))

    def ys(image):
        xs = image[:, None, :, None]
        return model.apply(params, (), model.init_carry(1, jnp.float64), xs)[1][:, 0].sum(-1)

    image = jnp.asarray(np.random.default_rng(0).normal(size=(H, W)))
    return np.asarray(jit(jax.jacrev(ys))(image)) != 0


@pytest.mark.slow(but=["2-True-A", "1-False-B"])
@MASKS
@pytest.mark.parametrize(("num_layers", "residual"), [(1, False), (3, False), (2, True)])
def test_a_pixel_depends_on_the_triangle_above_and_on_what_the_mask_leaves(
    num_layers, residual, mask, x64
):
    settings = {"num_layers": num_layers, "residual": residual}
    model = zoo.make_model("row_lstm", features=M, spatial_shape=(W,), mask=mask, **settings)
    found = dependence(model)
    for r, c, above, at in np.ndindex(found.shape):
        rows, distance = r - above, at - c
        # Every layer looks one pixel further to the left in its row, and for each of `rows` steps
        # one to either side. What mask A lets in enters one to the right of where it was.
        left = -(rows + num_layers)
        right = rows + {"A": -1, "B": 0, "none": num_layers}[mask]
        enters = mask != "A" or at < W - 1
        assert found[r, c, above, at] == (rows >= 0 and left <= distance <= right and enters)


@pytest.mark.parametrize(("mask", "inputs"), [("B", 1), ("none", 1), ("B", None), ("none", None)])
def test_kernels_of_width_one_are_an_lstm_for_each_column(mask, inputs, x64):
    cell = RowLSTM(M, spatial_shape=(W,), kernel_size=1, mask=mask, input_kernel_size=inputs)
    params, xs = cell_params(cell), vectors(size=(W, I))
    lstm = {
        "input": {"kernel": params["input"]["kernel"][0]},
        "recurrent": params["recurrent"] | {"kernel": params["recurrent"]["kernel"][0]},
    }
    carry, ys = run(cell, params, xs)
    columns = np.moveaxis(xs, 2, 1).reshape(T, W * B, I)
    expected = jax.tree.map(
        lambda leaf: jnp.moveaxis(leaf.reshape(*leaf.shape[:-2], W, B, M), -3, -2),
        run(LSTM(M), lstm, columns),
    )
    assert_close((carry, ys), expected)


@MASKS
def test_every_parameter_has_an_effect(mask, x64):
    cell = RowLSTM(M, spatial_shape=(W,), mask=mask, input_kernel_size=5)
    params = on_device(cell_params(cell))
    taps = {"A": 2, "B": 3, "none": 5}[mask]
    assert params["input"]["kernel"].shape == (taps, I, 4 * M)
    grads = jit(jax.grad(lambda p: jnp.sum(run_plain(cell, p) ** 2)))(params)
    assert all((leaf != 0).all() for leaf in jax.tree.leaves(grads))


def run_plain(cell, params):
    carry, total = cell.init_carry(B, jnp.float64), 0.0
    for x in jnp.asarray(vectors(size=(W, I))):
        carry, y = cell.step(params, carry, x)
        total += y
    return total


def test_the_state_kernel_starts_orthogonal_for_each_gate():
    cell = RowLSTM(8, spatial_shape=(W,), kernel_size=5)
    kernel = cell.init(jax.random.key(0), (W, 2))["recurrent"]["kernel"].reshape(40, 4, 8)
    product = jnp.einsum("rgm,rgn->gmn", kernel, kernel)
    np.testing.assert_allclose(product, np.broadcast_to(np.eye(8), (4, 8, 8)), atol=1e-5)


def test_the_makers_layers_are_masked_a_and_then_b():
    model = zoo.make_model(
        "row_lstm", features=M, spatial_shape=(W,), num_layers=3, input_kernel_size=7
    )
    cells = [layer.cell for layer in model.layers]
    assert [(c.mask, c.input_kernel_size) for c in cells] == [("A", 7), ("B", None), ("B", None)]


REFUSED = [
    ({"spatial_shape": (3, 3)}, r"spatial_shape is \(3, 3\); accepted by RowLSTM"),
    ({"mask": "C"}, "mask is 'C'; accepted are A, B, none"),
    ({"kernel_size": 2}, "kernel_size is 2; accepted are odd integers >= 1"),
    ({"input_kernel_size": 4}, "input_kernel_size is 4; accepted are odd integers >= 1"),
    ({"kernel_size": 1}, "kernel_size is 1; accepted with mask A, which leaves none of it"),
    ({"input_kernel_size": 1}, "input_kernel_size is 1; accepted with mask A"),
]


@pytest.mark.parametrize(("settings", "text"), REFUSED, ids=[text for _, text in REFUSED])
def test_refuses_in_one_line(settings, text):
    with pytest.raises(ValueError, match=f"^{text}") as error:
        RowLSTM(M, **({"spatial_shape": (W,)} | settings))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [3, (3, 3, 1)])
def test_a_network_of_other_inputs_than_rows_is_refused(size):
    text = f"^input_size is {re.escape(str(size))}; accepted by row_lstm, which reads maps, are 1"
    with pytest.raises(ValueError, match=text):
        zoo.make_network("row_lstm", input_size=size, output_size=2, tokens=False)


def test_a_row_of_unknown_width_is_refused_when_parameters_are_made():
    with pytest.raises(
        ValueError, match=r"^spatial_shape is \(\); accepted by RowLSTM, whose steps"
    ):
        RowLSTM(M).init(jax.random.key(0), I)


def rows_network(output_size=2, features=1, **settings):
    model = zoo.make_model("row_lstm", features=8, spatial_shape=(W,), **settings)
    return Network(model, (W, features), output_size, per_location=True)


def params_of(network):
    params = random_params(lambda key: network.init(key)[0], seed=3)
    return jax.tree.map(lambda leaf: jnp.asarray(2 * leaf, jnp.float32), params)


@pytest.mark.parametrize("output_size", [1, 2])
def test_what_was_drawn_is_as_likely_in_one_pass_as_when_it_was_drawn(output_size):
    network = rows_network(output_size, num_layers=3, residual=True)
    params = params_of(network)
    draw = of_rows.draw_binary
    rows, logits = of_rows._generate_rows(network, params, (), jax.random.key(0), 4, H, draw)
    assert rows.shape == (H, 4, W, 1) and set(np.unique(rows)) == {0.0, 1.0}
    _, whole, *_ = jit(network.apply)(params, (), network.init_carry(4), rows)

    def log_likelihood(logits):
        if output_size == 1:
            p = jax.nn.log_sigmoid(jnp.concatenate([-logits, logits], axis=-1))
        else:
            p = jax.nn.log_softmax(logits)
        return jnp.take_along_axis(p, rows.astype(jnp.int32), axis=-1).sum((0, 2, 3))

    assert logits.shape == whole.shape == (H, 4, W, output_size)
    np.testing.assert_allclose(log_likelihood(logits), log_likelihood(whole), rtol=1e-5)


@pytest.mark.parametrize("output_size", [1, 2])
def test_pixels_are_drawn_as_often_as_their_logits_say(output_size):
    network = rows_network(output_size, num_layers=1)
    params = jax.tree.map(jnp.zeros_like, params_of(network))
    params["readout"]["bias"] = jnp.array([1.5] if output_size == 1 else [0.5, 2.0])
    rows = generate_rows(network, params, (), 100, H, key=jax.random.key(0))
    assert abs(rows.mean() - 1 / (1 + np.exp(-1.5))) < 0.025


def test_forced_logits_give_the_forced_picture():
    # One layer whose output is 1 where the pixel before it is 0: stripes from a row's second pixel.
    network = rows_network(num_layers=1, kernel_size=3)
    params = jax.tree.map(jnp.zeros_like, params_of(network))
    large = jnp.full((8,), 30.0)
    nothing, gate = jnp.zeros(8), [large, -large]  # i open, f closed
    params["model"]["layer_0"]["input"]["kernel"] = jnp.concatenate(
        [nothing, nothing, -2 * large, nothing]
    ).reshape(1, 1, 32)
    params["model"]["layer_0"]["recurrent"]["bias"] = jnp.concatenate([*gate, large, large])
    params["readout"]["kernel"] = jnp.zeros((8, 2)).at[:, 1].set(50.0)
    rows = generate_rows(network, params, (), 3, H, key=jax.random.key(0))
    stripes = (np.arange(W) + 1) % 2  # nothing is before the first pixel: 1
    np.testing.assert_array_equal(rows, np.broadcast_to(stripes[:, None], (H, 3, W, 1)))


def test_what_is_drawn_follows_its_key():
    network = rows_network()
    params = params_of(network)
    rows, again, other = (
        generate_rows(network, params, (), 16, H, key=jax.random.key(n)) for n in (0, 0, 1)
    )
    np.testing.assert_array_equal(rows, again)
    assert (rows != other).any()
    assert len({example.tobytes() for example in np.moveaxis(rows, 1, 0)}) > 8  # each its own


def test_pixels_of_several_features_are_drawn_by_a_function_of_ones_own():
    network = rows_network(4, features=3)

    def draw(key, logits):
        return jax.nn.sigmoid(logits[:, :3]) + jax.random.uniform(key, (len(logits), 3))

    rows = generate_rows(network, params_of(network), (), 2, H, key=jax.random.key(0), draw=draw)
    assert rows.shape == (H, 2, W, 3) and len(np.unique(rows)) == rows.size


SEES_ITSELF = "the network's row_mask is '(B|none)'; accepted by generate_rows is 'A'"
NOT_DRAWN = [
    (rows_network(mask="B"), {}, SEES_ITSELF),
    (rows_network(mask="none"), {}, SEES_ITSELF),
    (Network(LSTM(M), (W, 1), 2, per_location=True), {}, SEES_ITSELF),
    (rows_network(bidirectional=True), {}, "Bidirectional is not causal; accepted token by token"),
    (
        Network(RowLSTM(M, spatial_shape=(W,)), (W, 1), 2),
        {},
        r"the network has input_size \(6, 1\) and per_location False; accepted by generate_rows",
    ),
    (
        Network(LSTM(M), 3, 2),
        {},
        "the network has input_size 3 and per_location False; accepted by generate_rows",
    ),
    (rows_network(3), {}, "the network has 1 features and 3 logits a pixel; accepted without draw"),
    (rows_network(features=2), {}, "the network has 2 features and 2 logits a pixel; accepted"),
    (rows_network(), {"num_rows": 0}, "num_rows is 0; accepted are integers >= 1"),
    (rows_network(), {"batch_size": 0}, "batch_size is 0; accepted are integers >= 1"),
    (
        Network(Chain((RowLSTM(M, spatial_shape=(W,)),) * 2), (W, 1), 2, per_location=True),
        {"params": {}},
        "params lacks",
    ),
]


@pytest.mark.parametrize(("network", "changed", "text"), NOT_DRAWN, ids=range(len(NOT_DRAWN)))
def test_refuses_to_draw_from_what_is_not_masked_or_not_of_rows(network, changed, text):
    given = {"params": network.init(jax.random.key(1))[0], "batch_size": 2, "num_rows": 2} | changed
    with pytest.raises(ValueError, match=f"^{text}") as error:
        generate_rows(
            network,
            given["params"],
            (),
            given["batch_size"],
            given["num_rows"],
            key=jax.random.key(0),
        )
    assert "\n" not in str(error.value)


def test_any_masked_model_can_be_drawn_from():
    model = Stacked(RowLSTM(8, spatial_shape=(W,), mask="A"), 2)
    network = Network(model, (W, 1), 2, per_location=True)
    rows = generate_rows(network, params_of(network), (), 2, H, key=jax.random.key(0))
    assert rows.shape == (H, 2, W, 1)

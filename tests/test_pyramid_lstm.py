"""PyraMiD-LSTM: symmetries of its sweeps, identities, streams, lengths; equations in the oracles."""

import dataclasses

import jax
import jax.numpy as jnp
import model_oracles
import numpy as np
import pytest
from cases import B, I, M, T, assert_close, jit, on_device, random_params, vectors
from zoo_oracles import conv_lstm

from tlstm_jax import LSTM, Bidirectional, PyramidLSTM, zoo

N = 2  # of the sweeps
SHAPES = [(), (4,), (3, 2)]
EACH = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{1 + len(shape)}-axes")


def problem(shape, steps=T, **settings):
    model = PyramidLSTM(M, spatial_shape=shape, hidden=N, **settings)
    params = random_params(lambda key: model.init(key, (*shape, I))[0])
    return model, params, vectors(steps=steps, size=(*shape, I))


def outputs(model, params, xs, carry=None, **options):
    carry = model.init_carry(xs.shape[1], jnp.float64) if carry is None else carry
    apply = jit(model.apply, static_argnames="flush")
    carry, ys, *_ = apply(on_device(params), (), carry, jnp.asarray(xs), **options)
    return carry, np.asarray(ys)


def test_without_spatial_axes_it_is_an_lstm_in_both_directions_and_a_dense_layer(x64):
    model, params, xs = problem(())
    both = Bidirectional(LSTM(N), LSTM(N))
    _, h = outputs(both, params["axis_0"], xs)
    dense = params["dense"]
    expected = np.tanh((h[..., :N] + h[..., N:]) @ dense["kernel"] + dense["bias"])
    assert_close(outputs(model, params, xs)[1], expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_turning_an_axis_round_exchanges_its_two_sweeps(axis, x64):
    model, params, xs = problem((3, 2))
    sweeps = params[f"axis_{axis}"]
    # A sweep along another axis sees a map that is turned round: so do its kernels.
    turned = {"dense": params["dense"]}
    for n in range(3):
        swapped = {"forward": sweeps["backward"], "backward": sweeps["forward"]}
        place = axis - (axis > n)  # of the axis among those of sweep n's maps
        turned[f"axis_{n}"] = swapped if n == axis else flipped(params[f"axis_{n}"], place)
    where = axis + (axis > 0)
    _, ys = outputs(model, turned, np.flip(xs, where))
    assert_close(np.flip(ys, where), outputs(model, params, xs)[1])


def flipped(sweeps, axis):
    """The kernels of both directions, turned round along one of their axes."""
    return jax.tree.map(lambda x: np.flip(x, axis) if x.ndim > 1 else x, sweeps)


def test_exchanging_time_with_space_exchanges_their_sweeps(x64):
    model, params, xs = problem((4,))
    turned = params | {"axis_0": params["axis_1"], "axis_1": params["axis_0"]}
    across = dataclasses.replace(model, spatial_shape=(T,))
    _, ys = outputs(across, turned, np.swapaxes(xs, 0, 2))
    assert_close(np.swapaxes(ys, 0, 2), outputs(model, params, xs)[1])


@pytest.mark.slow(but=["2-axes"])
@EACH
def test_every_location_depends_on_all_that_its_pyramids_reach(shape, x64):
    model, params, xs = problem(shape, 3)
    at = (1, 0, *(size // 2 for size in shape))
    apply = jit(jax.grad(lambda xs: model.apply(params, (), carry, xs)[1][at].sum()))
    carry = model.init_carry(B, jnp.float64)
    found = np.asarray(apply(jnp.asarray(xs))) != 0
    assert found[:, 0].all() and not found[:, 1:].any()


@EACH
def test_a_stream_goes_on_forwards_in_time_alone(shape, x64):
    model, params, _ = problem(shape)
    segments = [vectors(size=(*shape, I), seed=seed) for seed in (1, 2)]
    carry, first = outputs(model, params, segments[0], flush=False)
    _, second = outputs(model, params, segments[1], carry, flush=False)
    assert_close(first, model_oracles.pyramid_lstm(params, segments[0]))
    # What the forward sweep along T adds to the second segment, beyond what it would alone.
    forward, dense = params["axis_0"]["forward"], params["dense"]
    alone = conv_lstm(forward, segments[1]).ys
    goes_on = conv_lstm(forward, np.concatenate(segments)).ys[T:]
    sums = np.arctanh(model_oracles.pyramid_lstm(params, segments[1]))
    expected = np.tanh(sums + (goes_on - alone) @ dense["kernel"])
    assert_close(second, expected, 1e-9)


@pytest.mark.slow(but=["scan'}-1-axes"])
@EACH
@pytest.mark.parametrize("settings", [{"engine": "scan"}, {"remat_every": 2}], ids=str)
def test_lengths_and_gradients_on_every_engine(shape, settings, x64):
    model, params, xs = problem(shape)
    lengths, weights = jnp.array([2, T]), vectors(size=(*shape, M), seed=7)
    xs[2:, 0] = np.nan

    def gradients(model):
        def cost(params, xs):
            carry = model.init_carry(B, jnp.float64)
            return jnp.sum(weights * model.apply(params, (), carry, xs, lengths=lengths)[1])

        return jit(jax.grad(cost, argnums=(0, 1)))(on_device(params), jnp.asarray(xs))

    usual, other = gradients(model), gradients(dataclasses.replace(model, **settings))
    assert_close(other, usual, 1e-11)
    assert not usual[1][2:, 0].any() and usual[1][:2].all()
    # What lies beyond the shorter example has no part in the weights' gradient either.
    alone = jit(
        jax.grad(
            lambda p: sum(
                jnp.sum(
                    weights[:n, b : b + 1]
                    * model.apply(
                        p, (), model.init_carry(1, jnp.float64), jnp.asarray(xs[:n, b : b + 1])
                    )[1]
                )
                for b, n in enumerate(lengths.tolist())
            )
        )
    )(on_device(params))
    assert_close(usual[0], alone, 1e-11)


@EACH
def test_parameters_do_not_depend_on_the_sizes_of_axes(shape):
    sizes = [
        jax.tree.map(jnp.shape, PyramidLSTM(M, spatial_shape=s).init(jax.random.key(0), (*s, I)))
        for s in (shape, tuple(2 * n + 1 for n in shape))
    ]
    assert sizes[0] == sizes[1]


def test_both_directions_of_every_axis_have_weights_of_their_own():
    params, _ = PyramidLSTM(M, spatial_shape=(4,)).init(jax.random.key(0), (4, I))
    kernels = [
        params[axis][way]["input"]["kernel"]
        for axis in ("axis_0", "axis_1")
        for way in ("forward", "backward")
    ]
    assert len({np.asarray(kernel).tobytes() for kernel in kernels}) == 4


@EACH
def test_bfloat16_computes_in_it(shape):
    model, params, xs = problem(shape, dtype=jnp.bfloat16)
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    carry, ys, *_ = jit(model.apply)(params, (), model.init_carry(B), jnp.asarray(xs, jnp.float32))
    assert ys.dtype == jnp.bfloat16
    assert carry.forward.hidden.dtype == jnp.bfloat16 and carry.forward.memory.dtype == jnp.float32
    expected = model_oracles.pyramid_lstm(jax.tree.map(np.float64, params), xs)
    assert np.abs(ys.astype(jnp.float32) - expected).max() < 0.05


def apply_with(shape, **options):
    model, params, xs = problem(shape)
    xs = options.pop("xs", xs)
    return model.apply(params, (), model.init_carry(B), jnp.asarray(xs), **options)


REFUSED = [
    (
        lambda: apply_with((4,), reset=np.zeros((T, B), bool)),
        "reset is given; accepted by PyramidLSTM over maps",
    ),
    (
        lambda: apply_with((4,), xs=vectors()),
        r"input_shape is 2; accepted by PyramidLSTM with spatial_shape \(4,\) is \(4, I\)",
    ),
    (lambda: PyramidLSTM(0), "features is 0; accepted are integers >= 1"),
    (lambda: PyramidLSTM(M, hidden=0), "hidden is 0; accepted are integers >= 1"),
    (lambda: PyramidLSTM(M, kernel_size=4), "kernel_size is 4; accepted are odd integers >= 1"),
    (lambda: PyramidLSTM(M, spatial_shape=(0,)), r"spatial_shape is \(0,\); accepted are tuples"),
    (lambda: PyramidLSTM(M, engine="fast"), "engine is 'fast'; accepted are auto"),
    (lambda: PyramidLSTM(M, remat_every=0), "remat_every is 0; accepted are None"),
]


@pytest.mark.parametrize(("what", "text"), REFUSED, ids=[text for _, text in REFUSED])
def test_refuses_in_one_line(what, text):
    with pytest.raises(ValueError, match=f"^{text}") as error:
        what()
    assert "\n" not in str(error.value)


def test_a_network_that_cannot_generate_says_so():
    sizes = {"input_size": (4, 1), "output_size": 2, "tokens": False, "per_location": True}
    network = zoo.make_network("pyramid_lstm", features=M, **sizes)
    assert network.model.spatial_shape == (4,)
    with pytest.raises(ValueError, match=r"^PyramidLSTM is not causal; accepted token by token"):
        network.check_causal()

"""Compositions of JAX's transformations over a loop over time."""

import jax
import jax.numpy as jnp
import pytest
from cases import BY_NAME, M, T, assert_close, each, jit, on_device, vectors
from jax.flatten_util import ravel_pytree

from tlstm_jax import LSTM, TensorizedLSTM, unroll

SECOND = {
    "jacfwd(jacrev)": lambda f: jax.jacfwd(jax.jacrev(f)),
    "jacrev(jacrev)": lambda f: jax.jacrev(jax.jacrev(f)),
    "jacrev(jacfwd)": lambda f: jax.jacrev(jax.jacfwd(f)),
    "jacfwd(jacfwd)": lambda f: jax.jacfwd(jax.jacfwd(f)),
    "grad of grad": lambda f: (
        lambda x: jax.vmap(jax.grad(lambda x, v: jnp.vdot(jax.grad(f)(x), v)), (None, 0))(
            x, jnp.eye(x.size)
        )
    ),
    "vmap of jvp of grad": lambda f: (
        lambda x: jax.vmap(lambda v: jax.jvp(jax.grad(f), (x,), (v,))[1])(jnp.eye(x.size))
    ),
    "vmap of vjp of jvp": lambda f: (
        lambda x: jax.vmap(lambda v: jax.grad(lambda x: jax.jvp(f, (x,), (v,))[1])(x))(
            jnp.eye(x.size)
        )
    ),
    "jit of checkpoint": lambda f: jax.hessian(jax.checkpoint(f)),
}
GRADIENTS = [("auto", "xla"), ("conv", "products"), ("products", "auto"), ("conv", "xla")]


def problem(cell, engine="scan", **options):
    """(four of a cell's biases, the loss of these), in float64."""
    params = on_device(cell.init(jax.random.key(0), 2))
    params = jax.tree.map(lambda x: x.astype(jnp.float64), params)
    biases, put = ravel_pytree(
        {name: p["bias"] for name, p in params.items() if "bias" in p and name != "norm"}
    )
    xs = jnp.asarray(vectors())

    def loss(biases):
        new = {name: {**params[name], "bias": b} for name, b in put(biases).items()}
        carry = cell.init_carry(xs.shape[1], jnp.float64)
        ys = unroll(cell, {**params, **new}, carry, xs, engine=engine, **options)[1]
        return jnp.sum(jnp.sin(ys))

    return biases[:4], lambda some: loss(jnp.concatenate([some, biases[4:]]))


def second_differences(f, x, step=1e-5):
    gradient = jit(jax.grad(f))
    rows = [(gradient(x + step * v) - gradient(x - step * v)) / (2 * step) for v in jnp.eye(x.size)]
    return jnp.stack(rows)


@pytest.mark.slow
@pytest.mark.parametrize("name", SECOND)
@each(["tlstm-4-k3"])
def test_second_derivatives_in_every_order(case, name, x64):
    x, loss = problem(case.cell)
    assert_close(jit(SECOND[name](loss))(x), second_differences(loss, x), 1e-6)


@pytest.mark.slow(but=["lstm", "trnn-4-k3"])
@each(["tlstm-3x3-k3-cn", "trnn-4-k3", "lstm"])
def test_the_hessian_of_a_cell(case, x64):
    x, loss = problem(case.cell)
    assert_close(jit(jax.hessian(loss))(x), jit(SECOND["jacfwd(jacfwd)"](loss))(x), 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("by", "gradient"), GRADIENTS)
def test_hessians_with_every_gradient_of_the_convolution(by, gradient, x64):
    cell = TensorizedLSTM(M, (3,), convolution=by, convolution_gradient=gradient)
    x, loss = problem(cell)
    assert_close(jit(jax.jacrev(jax.jacrev(loss)))(x), second_differences(loss, x), 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"remat_every": 2}, {"lengths": jnp.array([T, 2])}])
def test_hessians_with_options(options, x64):
    x, loss = problem(BY_NAME["tlstm-4-k3"].cell, **options)
    assert_close(jit(jax.hessian(loss))(x), second_differences(loss, x), 1e-6)


def test_the_hessian_has_its_known_value():
    cell = TensorizedLSTM(2, (2,), forget_spread=0.0)
    xs = jax.random.normal(jax.random.key(1), (4, 2, 3))
    params = cell.init(jax.random.key(0), 3)

    def loss(bias):
        new = params | {"input": params["input"] | {"bias": bias}}
        return jnp.sum(jnp.square(unroll(cell, new, cell.init_carry(2), xs, engine="scan")[1]))

    expected = [[0.164421871, 0.019204045], [0.019204045, 0.046597890]]
    found = jit(jax.hessian(loss))(params["input"]["bias"])
    assert_close(found, jnp.array(expected), 1e-5)


@pytest.mark.slow
def test_third_derivatives(x64):
    x, loss = problem(TensorizedLSTM(2, (2,)))
    v = jnp.arange(1.0, 5.0)

    def along(t):
        return loss(x + t * v)

    third = jit(jax.grad(jax.grad(jax.grad(along))))(0.0)
    second = jit(jax.grad(jax.grad(along)))
    assert_close(third, (second(1e-5) - second(-1e-5)) / 2e-5, 1e-5)


@pytest.mark.slow
def test_hessian_vector_products_of_members(x64):
    """Every member with its own kernel, which is then computed as products."""
    cell = TensorizedLSTM(M, (3,))
    members = [jax.tree.map(jnp.float64, cell.init(jax.random.key(n), 2)) for n in range(3)]
    xs = jnp.asarray(vectors())

    def product(params):
        def loss(params):
            ys = unroll(cell, params, cell.init_carry(xs.shape[1]), xs, engine="scan")[1]
            return jnp.sum(jnp.sin(ys))

        return jax.jvp(jax.grad(loss), (params,), (params,))[1]

    together = jit(jax.vmap(product))(jax.tree.map(lambda *x: jnp.stack(x), *members))
    alone = [jit(product)(params) for params in members]
    assert_close(together, jax.tree.map(lambda *x: jnp.stack(x), *alone))


@pytest.mark.slow
def test_a_gradient_through_steps_of_descent_on_several_tasks(x64):
    """As in MAML: the gradient at the start, of the losses behind two steps on each task."""
    x, loss = problem(TensorizedLSTM(M, (3,)))
    tasks = jnp.array([0.5, 1.0, 2.0])

    def adapted(x, task):
        def step(x, _):
            return x - 0.1 * jax.grad(lambda x: loss(task * x))(x), None

        return loss(jax.lax.scan(step, x, None, length=2)[0] * task)

    def outer(x):
        return jnp.mean(jax.vmap(adapted, (None, 0))(x, tasks))

    value = jit(outer)
    differences = [(value(x + 1e-5 * v) - value(x - 1e-5 * v)) / 2e-5 for v in jnp.eye(x.size)]
    assert_close(jit(jax.grad(outer))(x), jnp.stack(differences), 1e-7)


@pytest.mark.parametrize("name", ["jacrev(jacrev)", "grad of grad", "vmap of jvp of grad"])
def test_the_deferred_engine_takes_second_derivatives_of_its_gradient(name, x64):
    x, loss = problem(LSTM(M), engine="deferred")
    assert_close(jit(SECOND[name](loss))(x), second_differences(loss, x), 1e-6)

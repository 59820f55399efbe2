"""Tensor trains: the matrices they are, how they start, what they refuse and what they save."""

import functools
import math
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import B, I, M, T, assert_close, cell_params, jit, on_device, run, tokens, vectors
from zoo_oracles import train_matrix

from tlstm_jax import LSTM, TTLSTM, unroll, zoo
from tlstm_jax.cells import tensor_train
from tlstm_jax.cells.tensor_train import balanced, dense, multiply
from tlstm_jax.models.bidirectional import Bidirectional
from tlstm_jax.models.sequence import as_sequence
from tlstm_jax.runs import settings
from tlstm_jax.scripts import train as program
from tlstm_jax.zoo.descriptions import remarks

MAPS = {  # the first is cheaper from its first core, the second from its last
    "wide to narrow": ((6, 5, 4), (2, 1, 3), 3),
    "narrow to wide": ((2, 1, 3), (6, 5, 4), 3),
    "one core": ((4,), (3,), 5),
    "ones": ((1, 1, 5), (2, 1, 3), 2),
}
maps = pytest.mark.parametrize(("rows", "columns", "rank"), MAPS.values(), ids=MAPS)


def drawn(rows, columns, rank):
    train = tensor_train.init_normal(jax.random.key(0), rows, columns, rank, 1.0)
    return jax.tree.map(lambda core: np.asarray(core, np.float64), train)


@maps
def test_a_train_multiplies_as_the_matrix_of_its_definition(rows, columns, rank, x64):
    train, xs = drawn(rows, columns, rank), vectors(size=math.prod(rows))
    W = train_matrix(train)
    assert_close(jit(dense)(on_device(train)), W)
    assert_close(multiply(jnp.asarray(xs), on_device(train), None), xs @ W)


@maps
def test_a_token_is_a_row_of_the_matrix_whatever_the_order_of_its_digits(rows, columns, rank, x64):
    train, size = drawn(rows, columns, rank), math.prod(rows)
    rows_of = jit(lambda tokens: multiply(tokens, on_device(train), None))
    known = rows_of(jnp.arange(size, dtype=jnp.int8))
    assert_close(known, train_matrix(train))
    others = rows_of(jnp.array([-1, size, -2, 2**30]))
    assert (others[0] == 0).all() and np.isnan(others[1:]).all()


def products(function, *args):
    """Multiplications of a function, and the size of its largest intermediate array."""
    equations = jax.make_jaxpr(function)(*args).jaxpr.eqns
    flat = [
        inner
        for e in equations
        for inner in (e.params["jaxpr"].jaxpr.eqns if "jaxpr" in e.params else [e])
    ]
    total = 0
    for e in flat:
        if e.primitive.name == "dot_general":
            (contracted, _), _ = e.params["dimension_numbers"]
            depth = math.prod(e.invars[0].aval.shape[axis] for axis in contracted)
            total += e.outvars[0].aval.size * depth
    return total, max(v.aval.size for e in flat for v in e.outvars)


@pytest.mark.parametrize("name", MAPS)
def test_the_matrix_is_never_made_and_the_cheaper_order_is_taken(name):
    rows, columns, rank = MAPS[name]
    train = tensor_train.init_normal(jax.random.key(0), rows, columns, rank, 1.0)
    x = jnp.ones((1, math.prod(rows)))
    total, largest = products(lambda x: multiply(x, train, None), x)
    shapes = [core["kernel"].shape for core in train.values()]

    def cost(order):
        """Row n of `sizes` becomes column n, in this order."""
        sizes, total = list(rows), 0
        for n in order:
            before, _, _, after = shapes[n]
            total += math.prod(sizes) * columns[n] * before * after
            sizes[n] = columns[n]
        return total

    forwards = range(len(rows))
    assert total == min(cost(forwards), cost(forwards[::-1]))
    if name in ("wide to narrow", "narrow to wide"):
        assert cost(forwards) != cost(forwards[::-1])
        assert largest < math.prod(rows) * math.prod(columns)


@pytest.mark.parametrize("inputs", [vectors, tokens])
@pytest.mark.parametrize("recurrent", [True, False])
def test_a_tt_lstm_is_the_lstm_with_its_dense_matrices(inputs, recurrent, x64):
    cell = TTLSTM(12, tt_rank=3, tt_recurrent=recurrent)
    params, xs = cell_params(cell, 10), inputs(size=10)
    lstm = cell.as_lstm(on_device(params))
    assert lstm["input"]["kernel"].shape == (10, 48)
    assert_close(run(cell, params, xs), run(LSTM(12), lstm, xs))


@pytest.mark.parametrize("rank", [1, 4])
@pytest.mark.parametrize("scale", [None, 0.5])
def test_the_input_matrix_starts_with_the_variance_of_an_lstm(rank, scale):
    cell = TTLSTM(27, tt_rank=rank, input_scale=scale)
    keys = jax.random.split(jax.random.key(0), 400)
    W = jax.jit(jax.vmap(lambda key: dense(cell.init(key, 8)["input"])))(keys)
    assert abs(W.std() / (scale or 8**-0.5) - 1) < 0.05
    assert abs(W.mean()) < 0.02 * W.std()


@pytest.mark.parametrize("rank", [1, 4])
def test_the_recurrent_matrix_starts_with_the_variance_of_an_orthogonal_one(rank):
    cell = TTLSTM(12, tt_rank=rank)
    keys = jax.random.split(jax.random.key(0), 50)
    U = np.asarray(jax.jit(jax.vmap(lambda key: dense(cell.init(key, 8)["recurrent"])))(keys))
    assert abs(U.std() * 12**0.5 - 1) < 0.03
    gates = np.stack(np.split(U, 4, axis=-1), 1)
    assert (np.linalg.norm(gates, 2, axis=(2, 3)) <= rank + 1e-4).all()  # R / sqrt(R)
    if rank == 1:
        assert np.abs(np.swapaxes(gates, 2, 3) @ gates - np.eye(12)).max() < 1e-5
    alike = np.einsum("nabc,ndbc->nad", gates, gates).mean(0) / 12  # no two gates from one draw
    assert np.abs(alike - np.eye(4)).max() < 0.2


@pytest.mark.parametrize(
    ("size", "number", "factors"),
    [(100, 3, (4, 5, 5)), (64, 3, (4, 4, 4)), (7, 3, (1, 1, 7)), (1, 2, (1, 1)), (60, 1, (60,))],
)
def test_a_size_is_factored_as_evenly_as_it_can(size, number, factors):
    assert balanced(size, number) == factors


REFUSED = [
    ({"tt_shape": (4, 5)}, "tt_shape is (4, 5), with the product 20; accepted are factors of feat"),
    ({"tt_shape": ()}, "tt_shape is (); accepted are one or more integers >= 1"),
    ({"tt_shape": (2.0, 6)}, "tt_shape is (2.0, 6); accepted are one or more integers >= 1"),
    ({"tt_input_shape": (0, 1, 2)}, "tt_input_shape is (0, 1, 2); accepted are one or more"),
    ({"tt_input_shape": (5, 2)}, "tt_input_shape is (5, 2); accepted beside the tt_shape (2, 2, 3"),
    ({"tt_rank": 0}, "tt_rank is 0; accepted are integers >= 1"),
]


@pytest.mark.parametrize(("given", "text"), REFUSED)
def test_refuses_shapes_by_name_in_one_line(given, text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}") as error:
        TTLSTM(12, **given)
    assert "\n" not in str(error.value)


def test_refuses_a_number_of_inputs_that_its_shape_does_not_divide():
    with pytest.raises(ValueError) as error:
        TTLSTM(12, tt_input_shape=(2, 2, 5)).init(jax.random.key(0), 30)
    assert str(error.value) == (
        "tt_input_shape is (2, 2, 5), with the product 20; accepted are factors of the number of "
        "inputs, 30, as (2, 3, 5)"
    )
    with pytest.raises(ValueError, match="x has 9 features; accepted by the input kernel are 8, t"):
        multiply(jnp.ones((1, 9)), drawn((2, 4), (1, 3), 2), None)


def test_shapes_may_be_lists():
    assert TTLSTM(12, tt_shape=[3, 4]) == TTLSTM(12, tt_shape=(3, 4))
    assert hash(TTLSTM(12, tt_shape=[3, 4]))


@pytest.mark.parametrize("wrap", [as_sequence, lambda cell: Bidirectional(cell, cell)], ids="cb")
def test_parameters_for_another_number_of_tokens_are_told_apart(wrap):
    model = wrap(TTLSTM(12))
    params, state = jax.eval_shape(lambda: model.init(jax.random.key(0), 60))

    def ys(params):
        carry = model.init_carry(B, params=params)
        return model.apply(params, state, carry, jnp.zeros((T, B), jnp.int32))[1]

    assert jax.eval_shape(ys, params).shape == (T, B, model.features)
    params["other"] = {"kernel": jnp.ones(3)}
    with pytest.raises(ValueError, match="with 60 inputs"):
        jax.eval_shape(ys, params)


def test_an_input_shape_is_that_of_the_first_layer():
    model = zoo.make_model("tt_lstm", features=12, num_layers=2, tt_input_shape=(1, 2, 5))
    params, _ = jax.eval_shape(lambda key: model.init(key, 10), jax.random.key(0))
    rows = [[c.shape[1] for c in jax.tree.leaves(p["input"])] for p in params.values()]
    assert rows == [[1, 2, 5], [2, 2, 3]]


def test_a_program_says_what_is_saved(capsys):
    given = {"task": "memorization", "model": "tt_lstm", "features": 24, "num_layers": 2}
    task, network, _ = settings.resolve(given | {"tt_rank": 2}, None).make()
    params, _ = jax.eval_shape(network.init, jax.random.key(0))
    layers = jax.tree.leaves(params, is_leaf=lambda x: isinstance(x, dict) and "core_0" in x)
    cores = matrices = 0
    for train in (layer for layer in layers if isinstance(layer, dict)):
        shapes = [core["kernel"].shape for name, core in train.items() if name != "bias"]
        cores += sum(map(math.prod, shapes))
        matrices += math.prod(a * b for _, a, b, _ in shapes)
    expected = (
        f"4 matrices are tensor trains of rank 2: {cores:,} parameters in place of {matrices:,}, "
        f"{matrices - cores:,} saved"
    )
    assert remarks(network, params) == [expected] and cores < matrices
    program._announce(
        types.SimpleNamespace(
            task=task,
            network=network,
            chosen=types.SimpleNamespace(model="tt_lstm"),
            directory=types.SimpleNamespace(path="runs"),
            like=types.SimpleNamespace(params=params),
            layout=None,
        )
    )
    assert expected in capsys.readouterr().out.splitlines()
    assert remarks(zoo.make_model("lstm"), {}) == []


def test_a_train_that_is_larger_than_its_matrix_says_so():
    cell = TTLSTM(4, tt_rank=8)
    params = jax.eval_shape(lambda key: cell.init(key, 2), jax.random.key(0))
    assert cell.about({"layer_0": params}).endswith(" more")


@pytest.mark.parametrize("engine", ["deferred", "scan"])
def test_gradients_are_those_of_the_dense_matrices(engine, x64):
    cell = TTLSTM(2 * M, tt_shape=(2, M), tt_rank=2)
    params, xs = on_device(cell_params(cell)), jnp.asarray(vectors())

    def loss(cell, params):
        run = functools.partial(unroll, cell, engine=engine)
        return jnp.sum(jnp.sin(run(params, cell.init_carry(B, jnp.float64), xs)[1]))

    actual = jit(jax.grad(functools.partial(loss, cell)))(params)
    through = jit(jax.grad(lambda params: loss(LSTM(2 * M), cell.as_lstm(params))))(params)
    assert_close(actual, through)
    assert math.prod(cell.as_lstm(params)["input"]["kernel"].shape) == I * 8 * M

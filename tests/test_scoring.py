import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlstm_jax.tasks.scoring import score, squared_error
from tlstm_jax.typing import Batch


def test_against_a_loop():
    rng = np.random.default_rng(0)
    T, B, V = 4, 6, 3
    logits = rng.normal(size=(T, B, V)).astype(np.float32)
    targets = rng.integers(0, V, (T, B)).astype(np.int32)
    mask = rng.random((T, B)) < 0.5
    mask[:, 2] = False  # an example without scored outputs
    logits[:, 1] = 10 * np.eye(V, dtype=np.float32)[targets[:, 1]]  # one that is all right
    mask[:, 1] = True
    sums = score(jnp.asarray(logits), Batch(jnp.zeros(()), jnp.asarray(targets), jnp.asarray(mask)))
    nll = right = whole = sequences = 0
    for b in range(B):
        for t in range(T):
            if mask[t, b]:
                p = np.exp(logits[t, b]) / np.exp(logits[t, b]).sum()
                nll -= np.log(p[targets[t, b]])
                right += logits[t, b].argmax() == targets[t, b]
        if mask[:, b].any():
            sequences += 1
            whole += all(logits[t, b].argmax() == targets[t, b] for t in range(T) if mask[t, b])
    assert whole >= 1
    expected = {
        "loss": (nll, mask.sum()),
        "accuracy": (right, mask.sum()),
        "sequence_accuracy": (whole, sequences),
    }
    assert sums.keys() == expected.keys()
    for name, pair in expected.items():
        np.testing.assert_allclose(np.array(sums[name]), pair, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", ["loss", "accuracy", "sequence_accuracy"])
def test_nothing_scored(name):
    batch = Batch(jnp.zeros(()), jnp.zeros((2, 3), jnp.int32), jnp.zeros((2, 3), bool))
    total, count = score(jnp.zeros((2, 3, 4)), batch)[name]
    assert total == count == 0


@pytest.mark.parametrize("rest", [(), (1,), (3, 5, 2)])
@pytest.mark.parametrize("scored", [1, 4])
def test_squared_errors_against_a_loop(rest, scored):
    rng = np.random.default_rng(1)
    outputs, targets = rng.normal(size=(2, scored, 6, *rest)).astype(np.float32)
    mask = rng.random((scored, 6)) < 0.6
    assert mask.any() and not mask.all()
    total = sum(
        np.mean(np.square(np.float64(outputs[t, b]) - targets[t, b])) for t, b in np.argwhere(mask)
    )
    batch = Batch(jnp.zeros(()), jnp.asarray(targets), jnp.asarray(mask))
    (found,) = squared_error(jnp.asarray(outputs), batch).items()
    assert found[0] == "loss"
    np.testing.assert_allclose(found[1], (total, mask.sum()), rtol=1e-5)


def test_what_is_not_scored_has_no_part_in_the_gradient():
    mask = jnp.array([[True, False]])
    batch = Batch(jnp.zeros(()), jnp.array([[[1.0], [jnp.inf]]]), mask)
    with jax.debug_nans(False):
        gradient = jax.grad(lambda y: squared_error(y, batch)["loss"][0])(jnp.zeros((1, 2, 1)))
    assert gradient[0, 0, 0] == -2 and squared_error(jnp.zeros((1, 2, 1)), batch)["loss"][0] == 1


@pytest.mark.parametrize(
    ("outputs", "targets", "mask"),
    [((4, 6, 1), (4, 6), (4, 6)), ((1, 6, 2), (1, 6, 2), (4, 6)), ((4, 6, 1), (4, 6, 2), (4, 6))],
)
def test_shapes_that_would_only_broadcast_are_refused(outputs, targets, mask):
    batch = Batch(jnp.zeros(()), jnp.zeros(targets), jnp.ones(mask, bool))
    with pytest.raises(ValueError, match=r"have the shapes .*; accepted are outputs like targets"):
        squared_error(jnp.zeros(outputs), batch)

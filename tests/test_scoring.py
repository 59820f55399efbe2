import jax.numpy as jnp
import numpy as np
import pytest

from tlstm_jax.tasks.scoring import score
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

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlstm_jax.tasks.transduction import duplication, reversal

ANSWERS = {duplication: lambda w: [*w, *w], reversal: lambda w: w[::-1]}


@pytest.mark.parametrize("make", ANSWERS)
@pytest.mark.parametrize(("n", "alphabet_size"), [(20, 2), (1, 5), (4, 70)])
def test_layout(make, n, alphabet_size):
    task = make(n, alphabet_size, batch_size=7)
    batch = jax.tree.map(np.asarray, task.train_batch((), jax.random.key(0), jnp.int32(3), 0))
    blank = alphabet_size
    for b in range(7):
        symbols = batch.inputs[1 : n + 1, b].tolist()
        assert all(0 <= symbol < alphabet_size for symbol in symbols)
        answer = ANSWERS[make](symbols)
        before, behind = [blank] * (n + 1), [blank] * (len(answer) + 1)
        assert batch.inputs[:, b].tolist() == [blank, *symbols, *behind]
        assert batch.targets[:, b].tolist() == [*before, *answer, blank]
        assert batch.mask[:, b].tolist() == [False] * (n + 1) + [True] * len(answer) + [False]
    assert len({batch.inputs[:, b].tobytes() for b in range(7)}) > 1


@pytest.mark.parametrize("make", ANSWERS)
@pytest.mark.parametrize("name", ["num_symbols", "alphabet_size"])
def test_sizes_out_of_range(make, name):
    with pytest.raises(ValueError, match=f"^{name} is 0; accepted are integers >= 1$"):
        make(**{name: 0})

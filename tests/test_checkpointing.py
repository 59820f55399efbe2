import jax
import jax.numpy as jnp
import pytest

from tasks.memorization import memorization
from tlstm_jax import checkpointing, training, zoo
from tlstm_jax.optimization import TrainSettings
from tlstm_jax.progress import Progress

# The reader's own errors can hold futures that nobody waits for.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SETTINGS = TrainSettings(num_steps=2, eval_every=2, checkpoint_every=2, steps_per_call=1)
TASK = memorization(1, 2, batch_size=2)


def _network(channels=3):
    return zoo.make_network("lstm", input_size=3, output_size=3, tokens=True, channels=channels)


def _state(channels=3):
    return training.init_state(_network(channels), TASK, SETTINGS, jax.random.key(0))


def _save_at(directory, steps, best_step=None):
    for step in steps:
        state = _state()._replace(step=jnp.int32(step))
        checkpointing.save(directory, state, Progress(step=step, best_step=best_step))


def test_the_latest_and_the_best_are_kept(tmp_path):
    _save_at(tmp_path, [1, 2], best_step=2)
    _save_at(tmp_path, [3, 4, 5, 6], best_step=2)
    assert checkpointing.steps(tmp_path) == [2, 5, 6]
    for which, step in (("latest", 6), ("best", 2), (5, 5)):
        state, progress = checkpointing.restore(tmp_path, _state(), step=which)
        assert int(state.step) == progress.step == step


def test_no_checkpoint(tmp_path):
    assert checkpointing.steps(tmp_path / "none") == []
    with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        checkpointing.restore(tmp_path / "none", _state())
    assert not (tmp_path / "none").exists()
    _save_at(tmp_path, [4])
    with pytest.raises(FileNotFoundError, match=r"no checkpoint 9 in .*; there are 4"):
        checkpointing.restore(tmp_path, _state(), step=9)


def test_parameters_alone_equal_those_of_the_state(tmp_path):
    _save_at(tmp_path, [1], best_step=1)
    params, model_state, progress = checkpointing.restore_params(tmp_path, _network())
    assert model_state == () and progress.step == 1
    jax.tree.map(lambda a, b: (a == b).all() or pytest.fail("differs"), params, _state().params)


def test_another_configuration(tmp_path):
    _save_at(tmp_path, [1])
    with pytest.raises(ValueError, match="is of another configuration"):
        checkpointing.restore(tmp_path, _state(channels=4))
    with pytest.raises(ValueError, match="is of another configuration"):
        checkpointing.restore_params(tmp_path, _network(channels=4))
    gru = zoo.make_network("trnn", input_size=3, output_size=3, tokens=True, channels=3)
    with pytest.raises(ValueError, match="is of another configuration"):
        checkpointing.restore_params(tmp_path, gru)


@pytest.mark.parametrize("damage", ["truncate", "remove", "garble"])
def test_a_damaged_checkpoint_is_named(damage, tmp_path):
    _save_at(tmp_path, [1])
    for file in sorted((tmp_path / "1").rglob("*")):
        if file.is_file():
            if damage == "truncate":
                file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
            elif damage == "remove":
                file.unlink()
            else:
                file.write_bytes(b"\xff" * file.stat().st_size)
    with pytest.raises(ValueError, match=rf"checkpoint {tmp_path}/1 is (damaged|of another)"):
        checkpointing.restore(tmp_path, _state())


def test_what_a_killed_save_leaves_is_passed_over(tmp_path):
    _save_at(tmp_path, [1])
    (tmp_path / "2.orbax-checkpoint-tmp").mkdir()
    assert checkpointing.steps(tmp_path) == [1]
    _save_at(tmp_path, [2])
    assert checkpointing.steps(tmp_path) == [1, 2]

import hashlib
import os
import random

import jax
import jax.numpy as jnp
import pytest

from tlstm_jax import training, zoo
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training import checkpointing, checksums
from tlstm_jax.training.progress import Progress
from tlstm_jax.training.settings import TrainSettings

# The reader's own errors can hold futures that nobody waits for.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SETTINGS = TrainSettings(num_steps=2, eval_every=2, checkpoint_every=2, steps_per_call=1)
TASK = memorization(1, 2, batch_size=2)


def _network(channels=3):
    return zoo.make_network("lstm", input_size=3, output_size=3, tokens=True, features=channels)


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


def test_the_best_of_one_that_is_kept_is_kept(tmp_path):
    for step, best in ((1, 1), (2, 1), (3, 3), (4, 3), (5, 5)):
        _save_at(tmp_path, [step], best_step=best)
    assert checkpointing.steps(tmp_path) == [3, 4, 5]
    (tmp_path / "5" / checksums.NAME).unlink()
    assert checkpointing.recover(tmp_path).step == 4


def test_no_checkpoint(tmp_path):
    assert checkpointing.steps(tmp_path / "none") == []
    with pytest.raises(FileNotFoundError, match="holds no checkpoint; "):
        checkpointing.restore(tmp_path / "none", _state())
    assert not (tmp_path / "none").exists()
    _save_at(tmp_path, [4])
    with pytest.raises(FileNotFoundError, match=r"holds no checkpoint 9; accepted are 4"):
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
    gru = zoo.make_network("trnn", input_size=3, output_size=3, tokens=True, features=3)
    with pytest.raises(ValueError, match="is of another configuration"):
        checkpointing.restore_params(tmp_path, gru)


def _files(directory):
    return sorted(p for p in directory.rglob("*") if p.is_file())


def _flip(path, rng):
    """One bit of a file."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _damage(path, how, rng=None):
    match how:
        case "flip":
            _flip(path, rng or random.Random(0))
        case "truncate":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        case "empty":
            path.write_bytes(b"")
        case "lengthen":
            path.write_bytes(path.read_bytes() + b"\0")
        case "remove":
            path.unlink()


@pytest.mark.parametrize("how", ["flip", "truncate", "empty", "lengthen", "remove"])
def test_damage_to_any_file_is_found_and_named(how, tmp_path):
    _save_at(tmp_path, [1], best_step=1)
    rng, files = random.Random(how), _files(tmp_path)
    assert {"SHA256SUMS", "metadata", "_METADATA"} <= {p.name for p in files}
    for path in files:
        valid, name = path.read_bytes(), path.relative_to(tmp_path / "1")
        for _ in range(5 if how == "flip" else 1):
            _damage(path, how, rng)
            message = rf"^checkpoint {tmp_path}/1 is damaged: {name} (differs from|is missing)"
            with pytest.raises(ValueError, match=message) as error:
                checkpointing.restore(tmp_path, _state())
            assert "\n" not in str(error.value)
            path.write_bytes(valid)
        _damage(path, how, rng)
        with pytest.raises(ValueError, match=message):
            checkpointing.restore_params(tmp_path, _network())
        path.write_bytes(valid)
    assert checkpointing.restore(tmp_path, _state()).progress.step == 1


def test_every_flipped_bit_of_the_checksums_is_found(tmp_path):
    (tmp_path / "x").write_bytes(b"content")
    checksums.write(tmp_path)
    path = tmp_path / checksums.NAME
    valid = path.read_bytes()
    for at in range(8 * len(valid)):
        content = bytearray(valid)
        content[at // 8] ^= 1 << at % 8
        path.write_bytes(content)
        assert checksums.problem(tmp_path) == "SHA256SUMS differs from its own checksum"
    path.write_bytes(valid)
    assert checksums.problem(tmp_path) is None


def test_the_checksums_are_those_of_sha256sum(tmp_path):
    _save_at(tmp_path, [1])
    lines = (tmp_path / "1" / checksums.NAME).read_text().splitlines()
    assert lines[-1].startswith("# ") and len(lines) == len(_files(tmp_path))
    for line in lines[:-1]:
        digest, name = line.split("  ")
        assert digest == hashlib.sha256((tmp_path / "1" / name).read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["../x", "/etc/hostname", "", "a\0b", "."])
def test_checksums_of_what_lies_elsewhere_are_refused(name, tmp_path):
    (tmp_path / "x").write_bytes(b"x")
    folder = tmp_path / "folder"
    folder.mkdir()
    lines = f"{hashlib.sha256(b'x').hexdigest()}  {name}\n"
    (folder / checksums.NAME).write_text(lines + checksums._last(lines))
    assert checksums.problem(folder) is not None


def test_what_a_killed_save_leaves_is_passed_over(tmp_path):
    _save_at(tmp_path, [1])
    (tmp_path / "2.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "0.removed").mkdir()
    assert checkpointing.steps(tmp_path) == [1]
    assert checkpointing.recover(tmp_path) == (1, [])
    _save_at(tmp_path, [2])
    assert checkpointing.steps(tmp_path) == [1, 2]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2"]


def test_killed_before_its_checksums_were_in_place(tmp_path, monkeypatch):
    _save_at(tmp_path, [1])
    real = os.replace

    def killed(source, target):
        if str(target).endswith(checksums.NAME):
            raise KeyboardInterrupt  # which nothing catches, as SIGKILL
        real(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        _save_at(tmp_path, [2])
    monkeypatch.undo()
    assert checkpointing.restore(tmp_path, _state()).progress.step == 1
    assert checkpointing.recover(tmp_path) == (1, [])
    _save_at(tmp_path, [2])
    assert checkpointing.restore(tmp_path, _state()).progress.step == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2"]


def test_a_save_takes_the_place_of_a_damaged_one(tmp_path):
    _save_at(tmp_path, [1, 2])
    (tmp_path / "2" / checksums.NAME).unlink()
    _save_at(tmp_path, [2])
    assert checkpointing.recover(tmp_path) == (2, [])
    (tmp_path / "3").mkdir()
    _save_at(tmp_path, [3])
    assert checkpointing.recover(tmp_path) == (3, [])
    before = (tmp_path / "3" / checksums.NAME).stat()
    _save_at(tmp_path, [3])
    assert (tmp_path / "3" / checksums.NAME).stat() == before


def test_later_checkpoints_are_neither_in_the_way_nor_removed(tmp_path):
    _save_at(tmp_path, [6, 7, 8])
    _save_at(tmp_path, [1, 2, 3])
    assert checkpointing.steps(tmp_path) == [2, 3, 7, 8]


@pytest.mark.parametrize(
    ("best", "damaged", "step", "aside"),
    [
        ({}, (), 4, []),
        ({}, (4,), 3, ["4.damaged"]),
        ({}, (1, 4), 3, ["1.damaged", "4.damaged"]),
        ({}, (1, 2, 3, 4), None, [f"{n}.damaged" for n in (1, 2, 3, 4)]),
        ({1: 1, 2: 2, 3: 2, 4: 2}, (2,), 1, ["2.damaged", "3.unused", "4.unused"]),
        ({1: 1, 2: 1, 3: 1, 4: 1}, (1,), None, ["1.damaged", "2.unused", "3.unused", "4.unused"]),
        ({1: 1, 2: 1, 3: 1, 4: 4}, (1,), 4, ["1.damaged"]),
        ({1: 0, 2: 2, 3: 2, 4: 4}, (4,), 3, ["4.damaged"]),
        ({4: 0}, (), 3, ["4.unused"]),
    ],
)
def test_what_a_training_resumes_from(best, damaged, step, aside, tmp_path):
    for n in (1, 2, 3, 4):
        state = _state()._replace(step=jnp.int32(n))
        checkpointing.save(tmp_path, state, Progress(step=n, best_step=best.get(n)), keep=9)
    for n in damaged:
        _damage(tmp_path / str(n) / "state" / "manifest.ocdbt", "flip")
    found = checkpointing.recover(tmp_path)
    assert found.step == step and len(found.found) == len(aside)
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.isdecimal()) == aside
    left = [n for n in (1, 2, 3, 4) if not any(name.startswith(f"{n}.") for name in aside)]
    assert checkpointing.steps(tmp_path) == left
    if step is not None:
        for which in ("latest", "best"):
            checkpointing.restore(tmp_path, _state(), step=which)
    assert checkpointing.recover(tmp_path) == (step, [])


def test_a_name_that_is_taken_is_left_alone(tmp_path):
    for name in ("1.damaged", "1.damaged-2"):
        _save_at(tmp_path, [1])
        (tmp_path / "1" / checksums.NAME).unlink()
        assert checkpointing.recover(tmp_path).found[0].endswith(f"; it is now {name}")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.damaged", "1.damaged-2"]


def test_a_save_that_fails_is_one_line_and_leaves_what_was_there(tmp_path, monkeypatch):
    _save_at(tmp_path, [1])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=rf"^checkpoint {tmp_path}/2 could not be saved: .*No space"):
        _save_at(tmp_path, [2])
    assert checkpointing.recover(tmp_path).step == 1

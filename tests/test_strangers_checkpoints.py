"""Checkpoints whose checksums match, from someone who means harm, and those of something else."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorstore as ts

from tests.test_checkpointing import SETTINGS, TASK, _network, _save_at, _state
from tlstm_jax import training, zoo
from tlstm_jax.training import checkpointing, checksums
from tlstm_jax.training.progress import Progress
from tlstm_jax.training.settings import TrainSettings

pytestmark = [
    pytest.mark.usefixtures("no_hang", "late_reads"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def folder(tmp_path):
    _save_at(tmp_path, [1], best_step=1)
    return tmp_path / "1"


def _refused(folder, message):
    for read in (
        lambda: checkpointing.restore(folder.parent, _state()),
        lambda: checkpointing.restore_params(folder.parent, _network()),
    ):
        with pytest.raises(ValueError, match=message) as error:
            read()
        assert "\n" not in str(error.value) and str(error.value).startswith(f"checkpoint {folder} ")


def _with_sums(folder, names=()):
    """Checksums as a stranger writes them, also of what is no file."""
    checksums.write(folder)
    path = folder / checksums.NAME
    lines = "".join(line + "\n" for line in path.read_text().splitlines()[:-1])
    lines += "".join(f"{'0' * 64}  {name}\n" for name in names)
    path.write_text(lines + checksums._last(lines))


@pytest.mark.slow
@pytest.mark.parametrize("where", [".", "state", "state/d"])
@pytest.mark.parametrize("kind", ["device", "link", "folder link", "fifo", "file"])
def test_what_is_no_file_that_the_sums_name_is_refused_unread(folder, kind, where):
    checksums.write(folder)
    path = folder / where / "x"
    match kind:
        case "device":
            path.symlink_to("/dev/zero")
        case "link":
            path.symlink_to(folder / checksums.NAME)
        case "folder link":
            path.symlink_to(folder.parent, target_is_directory=True)
        case "fifo":
            os.mkfifo(path)
        case "file":
            path.touch()
    name = path.relative_to(folder).as_posix()
    what = "is not named in SHA256SUMS" if kind == "file" else "is neither a file nor a folder"
    _refused(folder, f"is damaged: {name} {what}$")


def test_a_file_that_is_a_link_is_refused_whatever_it_holds(folder, tmp_path):
    path = folder / "state" / "_METADATA"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    checksums.write(folder)
    _refused(folder, "is damaged: state/_METADATA is neither a file nor a folder$")


def test_a_step_that_is_a_link_is_refused(folder):
    (folder.parent / "2").symlink_to(folder, target_is_directory=True)
    with pytest.raises(ValueError, match=r"/2 is damaged: it is a link; accepted are folders$"):
        checkpointing.restore(folder.parent, _state())


@pytest.mark.parametrize("name", ["progress/metadata", "state/_METADATA", "_CHECKPOINT_METADATA"])
@pytest.mark.parametrize(
    "content", ["[" * 100_000 + "]" * 100_000, '{"a":' * 5000 + "0" + "}" * 5000]
)
def test_deep_json_is_refused(folder, name, content):
    (folder / name).write_text(content)
    checksums.write(folder)
    _refused(folder, f"is damaged: {name} is nested over 100 deep$")


def test_json_that_only_quotes_brackets_is_not_deep(folder):
    path = folder / "_CHECKPOINT_METADATA"
    metadata = json.loads(path.read_text())
    metadata["custom_metadata"] = {"a": "[" * 1000 + '\\"{' * 1000}
    path.write_text(json.dumps(metadata))
    checksums.write(folder)
    assert checkpointing.restore(folder.parent, _state()).progress.step == 1


def test_long_json_is_refused(folder):
    with (folder / "progress" / "metadata").open("a") as file:
        file.write(" " * 2**24)
    checksums.write(folder)
    _refused(folder, r"is damaged: progress/metadata has over 16,777,216 bytes$")


def _store(folder):
    where = {"driver": "ocdbt", "base": f"file://{folder}/state/"}
    return ts.KvStore.open(where).result()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"chunks": [20_000, 20_000]},
            r"has chunks \[20000, 20000\]; accepted are 1 to the size of each axis",
        ),
        ({"shape": [20_000, 20_000]}, r"has shape \[20000, 20000\]; accepted is \[3, 12\]"),
        ({"chunks": [3]}, r"has chunks \[3\]; accepted are as many"),
        ({"chunks": [0, 12]}, r"has chunks \[0, 12\]"),
        ({"dtype": "|S1000000000"}, r"of dtype \|S1000000000"),
        ({"shape": "x"}, r"'x' as its shape or chunks; accepted are lists"),
    ],
)
def test_arrays_that_would_fill_the_memory_are_refused(folder, change, message):
    store, key = _store(folder), "params.model.input.kernel/.zarray"
    metadata = json.loads(store.read(key).result().value)
    store.write(key, json.dumps(metadata | change).encode()).result()
    checksums.write(folder)
    _refused(folder, f"params.model.input.kernel.*{message}")


def test_a_chunk_that_inflates_to_more_than_its_array_is_refused(folder):
    store = _store(folder)
    zeros = {
        "driver": "zarr",
        "kvstore": "memory://zeros/",
        "metadata": {
            "shape": [10**6],
            "chunks": [10**6],
            "dtype": "|u1",
            "compressor": {"id": "zstd"},
        },
    }
    large = ts.open(zeros, create=True, fill_value=1).result()
    large.write(np.ones(10**6, np.uint8) * 2).result()
    chunk = large.kvstore.read("0").result().value
    assert 0 < len(chunk) < 10**4
    store.write("params.model.input.kernel/0.0", chunk).result()
    checksums.write(folder)
    _refused(folder, "is damaged: ")


def test_a_checkpoint_in_another_form_is_refused(folder):
    path = folder / "state" / "_METADATA"
    for change in ({"use_zarr3": True}, {"use_ocdbt": False}):
        metadata = json.loads(path.read_text())
        path.write_text(json.dumps(metadata | change))
        checksums.write(folder)
        _refused(
            folder, r"is damaged: state/_METADATA has another format; accepted is Zarr in OCDBT$"
        )


def test_a_checkpoint_of_another_model_or_optimizer_says_what_differs(folder):
    other = "is of another configuration: "
    with pytest.raises(
        ValueError, match=rf"{other}opt_state\.1\.0\.mu\.model\.input\.kernel has shape \[3, "
    ):
        checkpointing.restore(folder.parent, _state(channels=4))
    with pytest.raises(
        ValueError,
        match=rf"{other}params\.model\.input\.kernel has shape \[3, 12\]; accepted is \[3, 16\]$",
    ):
        checkpointing.restore_params(folder.parent, _network(channels=4))
    gru = zoo.make_network("gru", input_size=3, output_size=3, tokens=True, features=3)
    with pytest.raises(
        ValueError, match=rf"{other}it lacks .*|has shape \[3, 12\]; accepted is \[3, 9\]"
    ):
        checkpointing.restore_params(folder.parent, gru)
    adamw = TrainSettings(
        optimizer="adamw", num_steps=2, eval_every=2, checkpoint_every=2, steps_per_call=1
    )
    like = training.abstract_state(_network(), TASK, adamw)
    with pytest.raises(ValueError, match=rf"{other}it lacks opt_state\.1\.2\.count$"):
        checkpointing.restore(folder.parent, like)


def test_parameters_that_the_network_does_not_know_are_refused(tmp_path):
    sizes = {"input_size": 3, "output_size": 3, "tokens": True, "features": 3}
    deep = zoo.make_network("stacked_lstm", **sizes, num_layers=3)
    state = training.init_state(deep, TASK, SETTINGS, jax.random.key(0))
    checkpointing.save(tmp_path, state._replace(step=jnp.int32(1)), Progress(step=1))
    shallow = zoo.make_network("stacked_lstm", **sizes, num_layers=2)
    with pytest.raises(
        ValueError, match=r"another configuration: it has params\.model\..*; accepted are"
    ):
        checkpointing.restore_params(tmp_path, shallow)


@pytest.mark.parametrize("which", ["latest", "best"])
def test_a_checkpoint_that_is_removed_while_it_is_read_is_no_damage(tmp_path, monkeypatch, which):
    _save_at(tmp_path, [1, 2], best_step=2)
    real, calls = checksums.problem, []

    def while_a_training_goes_on(folder):
        calls.append(folder.name)
        if len(calls) == 1:
            _save_at(tmp_path, [3, 4, 5], best_step=5)
        return real(folder)

    monkeypatch.setattr(checksums, "problem", while_a_training_goes_on)
    assert checkpointing.restore(tmp_path, _state(), step=which).progress.step == 5
    assert calls[0] == "2"
    calls.clear()

    def remove(folder):
        os.replace(tmp_path / "4", tmp_path / "4.removed")
        return real(folder)

    monkeypatch.setattr(checksums, "problem", remove)
    with pytest.raises(FileNotFoundError, match=r"holds no checkpoint 4; accepted are 5$"):
        checkpointing.restore(tmp_path, _state(), step=4)


def test_no_reader_sees_a_checkpoint_before_it_is_complete(tmp_path, monkeypatch):
    _save_at(tmp_path, [1])
    real, seen = checksums.write, []

    def write(folder):
        seen.append(checkpointing.restore(tmp_path, _state()).progress.step)
        real(folder)
        seen.append(checkpointing.restore(tmp_path, _state()).progress.step)

    monkeypatch.setattr(checksums, "write", write)
    _save_at(tmp_path, [2])
    assert seen == [1, 1] and checkpointing.restore(tmp_path, _state()).progress.step == 2

"""Run directories, checkpoints and prepared data from strangers: read, or refused in one line."""

import dataclasses
import json
import os

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.hostile import JSON, VALUES, make, mutated, refusal
from tests.test_checkpointing import _network, _save_at, _state
from tlstm_jax.runs import settings
from tlstm_jax.runs.directory import RunDirectory, read_json
from tlstm_jax.scripts.sweep.plan import Sweep
from tlstm_jax.scripts.sweep.run import _read_stops
from tlstm_jax.tasks.data import datasets
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training import checkpointing, checksums

pytestmark = pytest.mark.usefixtures("no_hang")

CHOSEN = settings.resolve({"task": "memorization", "num_symbols": 2, "alphabet_size": 3}, None)
TASK = memorization(**CHOSEN.task_settings)
RECORD = {"step": 2, "samples": 30, "seconds": 1.5, "train": {"loss": 1.0}, "valid": {"loss": 2}}


@pytest.fixture
def run(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    directory.claim(CHOSEN, TASK)
    return directory


def any_content(valid):
    """Of a file whose valid content is the text `valid`."""
    damaged = mutated(valid.encode())
    return st.binary(max_size=40) | damaged | JSON.map(lambda value: json.dumps(value).encode())


@st.composite
def changed(draw, value):
    """The JSON value with one of its parts replaced, dropped or added."""
    if not isinstance(value, dict) or draw(st.integers(0, 3)) == 0:
        return draw(VALUES)
    value = dict(value)
    name = draw(st.sampled_from(sorted(value)) | st.text(max_size=3))
    if draw(st.booleans()):
        value[name] = draw(changed(value.get(name)))
    else:
        value.pop(name, None)
    return value


CONFIG = json.dumps(dataclasses.asdict(CHOSEN))


@given(
    content=any_content(CONFIG) | changed(json.loads(CONFIG)).map(lambda v: json.dumps(v).encode())
)
@example(b"[" * 100_000)
@example(b"9" * 5000)
@example(b" " * 2**23)
@example(CONFIG.replace('"num_steps": 1000', '"num_steps": "1000"').encode())
@example(CONFIG.replace('"tensor_shape": [3]', '"tensor_shape": [[3]]').encode())
@example(CONFIG.replace('"seed"', '"sed"').encode())
@example(CONFIG.replace('"memorization"', "[]").encode())
def test_any_config(run, content):
    run.config.write_bytes(content)
    with refusal(run.config):
        chosen = run.read_config()
        with refusal("accepted", "need at least"):
            make(chosen)
    with refusal(run.path):
        run.claim(CHOSEN, TASK)
        assert run.read_config().make()[1] == CHOSEN.make()[1]
    run.config.write_text(CONFIG)


DATA = '{"sha256": "%s", "vocabulary": [10, 97, 255]}' % ("0" * 64)


@given(content=any_content(DATA) | changed(json.loads(DATA)).map(lambda v: json.dumps(v).encode()))
@example(DATA.replace("97", "256").encode())
@example(DATA.replace("97", "97, 97").encode())
@example(DATA.replace("97", '"a"').encode())
@example(DATA.replace("97", "97.0").encode())
@example(b'{"sha256": [], "vocabulary": null}')
def test_any_vocabulary(run, content):
    run.data.write_bytes(content)
    with refusal(run.data):
        vocabulary = run.read_vocabulary()
        assert vocabulary is None or list(vocabulary) == sorted(set(vocabulary))
        assert vocabulary is None or bytes(vocabulary)
    with refusal(run.path):
        run.check_data(TASK)


LINE = json.dumps(RECORD)


@given(
    lines=st.lists(
        st.just(LINE.encode())
        | any_content(LINE)
        | changed(RECORD).map(lambda value: json.dumps(value).encode()),
        max_size=3,
    )
)
@example([b"[" * 100_000, LINE.encode()])
@example([LINE.replace("2", "null").encode()])
@example([LINE.replace('"step"', '"stop"').encode(), LINE.encode()])
@example([LINE.replace('"samples"', '"characters"').encode()])
def test_any_metrics(run, lines):
    run.metrics.write_bytes(b"\n".join(lines))
    with refusal(run.metrics):
        records = run.read_metrics()
        assert all(set(record) >= {"step", "seconds"} for record in records)
    with refusal(run.metrics):
        run.claim(CHOSEN, TASK)
        assert all(isinstance(record["samples"], int | float) for record in run.read_metrics())
    with refusal(run.results):
        run.results.write_bytes(lines[0] if lines else b"")
        read_json(run.results)


SWEEP = Sweep.make(
    {"task": "memorization", "num_symbols": 2, "model": "lstm", "eval_every": 10},
    None,
    {"learning_rate": [1e-3, 1e-2], "features": [4, 5]},
    halving=2,
    halving_steps=10,
)
PLAN = json.dumps(dataclasses.asdict(SWEEP))


@hypothesis_settings(max_examples=50)
@given(content=any_content(PLAN) | changed(json.loads(PLAN)).map(lambda v: json.dumps(v).encode()))
@example(PLAN.replace('"seed": 0', '"seed": "0"', 1).encode())
@example(PLAN.replace('"model": "lstm"', '"model": "gru"', 1).encode())
@example(PLAN.replace('"factor": 2', '"factor": "2"').encode())
@example(PLAN.replace('"halving": {', '"halving": 0, "h": {').encode())
@example(PLAN.replace('"points": [', '"points": [{}, ').encode())
@example(PLAN.replace('"points": [{"learning_rate": 0.001,', '"points": [{').encode())
@example(PLAN.replace("0.001", "0.002", 1).encode())
def test_any_sweep(tmp_path, content):
    (tmp_path / "sweep.json").write_bytes(content)
    with refusal(tmp_path / "sweep.json"):
        sweep = Sweep.read(tmp_path)
        with refusal(tmp_path, "accepted"):
            assert sweep.groups()
            sweep.claim(tmp_path)


def test_a_whole_sweep_is_read(tmp_path):
    SWEEP.claim(tmp_path / "sweep")
    assert json.dumps(dataclasses.asdict(Sweep.read(tmp_path / "sweep"))) == PLAN


@pytest.mark.parametrize("change", ["points", "runs", "halving", "kind"])
def test_a_sweep_whose_parts_do_not_belong_together(tmp_path, change):
    plan = json.loads(PLAN)
    match change:
        case "points":
            plan["points"].pop()
        case "runs":
            plan["runs"].reverse()
        case "halving":
            plan["halving"]["min_steps"] = 7
        case "kind":
            plan["runs"][0]["train_settings"]["seed"] = [0]
    (tmp_path / "sweep.json").write_text(json.dumps(plan))
    with pytest.raises(
        ValueError, match=r"sweep\.json is damaged: .*; accepted is what a sweep wr"
    ):
        Sweep.read(tmp_path)


@pytest.mark.parametrize("content", ["[]", '{"x": "why"}', '{"0": 1}', "[" * 9999])
def test_any_stops_of_a_sweep(tmp_path, content):
    path = tmp_path / "stops.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"^{path} is damaged[:;] "):
        _read_stops(path)


def test_what_is_no_file(run):
    for path in (run.config, run.data, run.metrics):
        path.unlink(missing_ok=True)
    os.mkfifo(run.data)
    with pytest.raises(ValueError, match=r"data.json is not a file; accepted is a file of JSON"):
        run.read_vocabulary()
    run.config.mkdir()
    run.metrics.mkdir()
    assert run.read_metrics() == []
    with pytest.raises(FileNotFoundError, match=r"holds no config\.json; "):
        run.read_config()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    directory = tmp_path_factory.mktemp("checkpoint")
    _save_at(directory, [1], best_step=1)
    return directory


PROGRESS = {"step": 1, "units": 0, "best_metric": None, "best_step": 1, "evals_since_best": 0}


@hypothesis_settings(max_examples=30)
@given(data=st.data())
def test_a_damaged_checkpoint(checkpoint, late_reads, data):
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files), "file")
    valid = path.read_bytes()
    path.write_bytes(data.draw(mutated(valid) | st.binary(max_size=40), "content"))
    sums = (checkpoint / "1" / checksums.NAME).read_bytes()
    if path.name != checksums.NAME and data.draw(st.booleans(), "with checksums of its own"):
        checksums.write(checkpoint / "1")
    try:
        for read in (
            lambda: checkpointing.restore(checkpoint, _state()).state.params,
            lambda: checkpointing.restore_params(checkpoint, _network())[0],
        ):
            with refusal(checkpoint):
                assert read().keys() == _state().params.keys()
    finally:
        (checkpoint / "1" / checksums.NAME).write_bytes(sums)
        path.write_bytes(valid)


@hypothesis_settings(max_examples=20)
@given(progress=changed(PROGRESS) | JSON)
@example({**PROGRESS, "step": 2})
@example({**PROGRESS, "units": -1})
@example({**PROGRESS, "best_step": 10**30})
@example({**PROGRESS, "best_metric": "high"})
def test_any_progress(checkpoint, late_reads, progress):
    path = checkpoint / "1" / "progress" / "metadata"
    valid = path.read_bytes()
    path.write_text(json.dumps(progress))
    checksums.write(checkpoint / "1")
    try:
        with refusal(checkpoint):
            read = checkpointing.restore_params(checkpoint, _network())[2]
            assert read.step == 1 and read.units >= 0 and read.evals_since_best >= 0
    finally:
        path.write_bytes(valid)
        checksums.write(checkpoint / "1")


@pytest.mark.parametrize("name", ["9" * 30, "-1", "2", "x", "é"])
@pytest.mark.parametrize("folder", [True, False])
def test_what_lies_beside_a_checkpoint(tmp_path, name, folder, late_reads):
    _save_at(tmp_path, [1])
    (tmp_path / name).mkdir() if folder else (tmp_path / name).touch()
    with refusal(tmp_path):
        assert checkpointing.restore_params(tmp_path, _network())[2].step == 1


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    directory = tmp_path_factory.mktemp("prepared")
    images, labels = np.zeros((20, 28, 28), np.uint8), np.arange(20, dtype=np.int32) % 10
    datasets._prepare(directory, {"train": (images, labels), "test": (images[:5], labels[:5])})
    return directory


@hypothesis_settings(max_examples=60)
@given(data=st.data())
def test_damaged_prepared_data(prepared, data):
    files = sorted(path for path in prepared.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files), "file")
    valid = path.read_bytes()
    path.write_bytes(data.draw(mutated(valid[:2000]) | mutated(valid) | st.binary(max_size=40)))
    try:
        with refusal(prepared):
            for images, labels in datasets._read(prepared).values():
                assert images.shape == (*labels.shape, 28, 28) and set(labels) <= set(range(10))
    finally:
        path.write_bytes(valid)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"20"', '"21"', "index 20 out of bound 20"),
        ('"20"', '"3000000000"', "3000000000 examples; accepted are up to 2097152"),
        ('"20"', '"-1"', ""),
        ('"test"', '"tests"', "'test'"),
    ],
)
def test_prepared_data_that_claim_what_is_not_there(prepared, old, new, message):
    path = next(prepared.rglob("dataset_info.json"))
    valid = path.read_text()
    path.write_text(valid.replace(old, new))
    try:
        with pytest.raises(ValueError, match=rf"^{prepared} is damaged \(.*{message}.*again$"):
            datasets._read(prepared)
    finally:
        path.write_text(valid)


def test_prepared_labels_out_of_range(tmp_path):
    images = np.zeros((2, 28, 28), np.uint8)
    for wrong in (-1, 10):
        labels = np.array([0, wrong], np.int32)
        directory = tmp_path / str(wrong)
        datasets._prepare(directory, {"train": (images, labels), "test": (images, labels)})
        with pytest.raises(ValueError, match="a label is out of range; accepted are 0 to 9"):
            datasets._read(directory)

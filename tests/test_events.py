"""TensorBoard's events and metrics.jsonl tell the same, whatever happened to either."""

import json
import re
import shutil
import struct

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from tlstm_jax.runs import events
from tlstm_jax.runs.directory import RunDirectory
from tlstm_jax.runs.metrics_log import MetricsLog
from tlstm_jax.training import Report
from tlstm_jax.training.progress import Progress


def _events(directory):
    """All events of a folder, in the order in which TensorBoard reads them."""
    for path in sorted(directory.path.glob("events.out.tfevents.*")):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            yield Event.FromString(content[at + 12 : at + 12 + length])
            at += length + 16


def _shown(directory):
    """Step and loss of what TensorBoard shows: a start removes what is later than it says."""
    shown = {}
    for event in _events(directory):
        if event.session_log.status == SessionLog.START:
            shown = {step: loss for step, loss in shown.items() if step < event.step}
        for value in event.summary.value:
            if value.tag == "train/loss":
                shown[event.step] = value.simple_value
    return shown


def _told(directory):
    return {record["step"]: record["train"]["loss"] for record in directory.read_metrics()}


def _write(directory, start, until, close=True):
    log = MetricsLog(directory, start, every=2)
    for step in range(start + 2, until + 1, 2):
        progress = Progress(step=step, units=10 * step)
        report = Report(None, progress, {"loss": step / 4}, None, False, None, False)
        log.write(report, "samples", log.seconds + step)
    if close:
        log.close()
    return log


@pytest.fixture
def directory(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    return directory


EXPECTED = {step: step / 4 for step in range(2, 21, 2)}


def test_a_killed_run_has_every_event_that_the_metrics_have(directory):
    log = _write(directory, 0, 20, close=False)  # which holds the files open
    assert _shown(directory) == _told(directory) == EXPECTED
    log.close()


@pytest.mark.parametrize("damage", ["none", "later", "cut", "removed", "copied"])
def test_after_a_resumption_both_tell_the_same(directory, damage):
    _write(directory, 0, 14)
    (file,) = directory.path.glob("events.out.tfevents.*")
    match damage:
        case "later":  # than the step it resumes from
            _write(directory, 14, 20)
        case "cut":
            file.write_bytes(file.read_bytes()[:200])
        case "removed":
            file.unlink()
        case "copied":
            shutil.copy(file, file.with_name(file.name + ".copy"))
    _write(directory, 12, 20)
    assert _shown(directory) == _told(directory) == EXPECTED
    assert len(list(directory.path.glob("events.out.tfevents.*"))) == 1


def test_names_sort_by_start_though_the_clock_was_set_back(directory, monkeypatch):
    _write(directory, 0, 10)
    (first,) = directory.path.glob("events.out.tfevents.*")
    monkeypatch.setattr(events.time, "time", lambda: 1e9)
    _write(directory, 10, 20)
    (second,) = directory.path.glob("events.out.tfevents.*")
    assert first.name < second.name and re.fullmatch(r".*tfevents\.\d{10}\..*", second.name)
    assert _shown(directory) == _told(directory) == EXPECTED
    times = [event.wall_time for event in _events(directory)]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("damage", "lacks"),
    [
        ("none", None),
        ("cut", "6 of the 10 reports up to step 20, the first that of step 10"),
        ("a hole", "1 of the 10 reports up to step 20, the first that of step 6"),
        ("emptied", "10 of the 10 reports up to step 20, the first that of step 2"),
        ("deleted", "10 of the 10 reports up to step 20, the first that of step 2"),
        ("twice", None),
        ("turned", None),
    ],
)
def test_what_the_metrics_lack_is_said_and_kept_apart(directory, damage, lacks):
    _write(directory, 0, 20)
    lines = directory.metrics.read_text().splitlines(keepends=True)
    match damage:
        case "cut":
            directory.metrics.write_text("".join(lines[:4]) + lines[4][:9])
        case "a hole":
            directory.metrics.write_text("".join(lines[:2] + lines[3:]))
        case "emptied":
            directory.metrics.write_text("")
        case "deleted":
            directory.metrics.unlink()
        case "twice":
            directory.metrics.write_text("".join(lines[:6] + lines[2:]))
        case "turned":
            directory.metrics.write_text("".join(lines[::-1]))
    log = _write(directory, 20, 24)
    assert log.lacking == (lacks and f"{directory.metrics} lacks {lacks}")
    there = {} if lacks and "10 of" in lacks[:5] else EXPECTED
    if damage == "cut":
        there = {step: loss for step, loss in EXPECTED.items() if step < 10}
    if damage == "a hole":
        there = {step: loss for step, loss in EXPECTED.items() if step != 6}
    assert _shown(directory) == _told(directory) == there | {22: 5.5, 24: 6.0}
    steps = [json.loads(line)["step"] for line in directory.metrics.read_text().splitlines()]
    assert steps == sorted(set(steps))
    kept = list(directory.path.glob("events.unused.*"))
    assert len(kept) == (lacks is not None)  # the only place that has them


@pytest.mark.parametrize("how", ["removed", "removed and made again", "replaced"])
def test_a_folder_that_is_removed_in_mid_run_is_an_error(directory, how):
    log = _write(directory, 0, 10, close=False)
    if how == "replaced":
        shutil.copy(directory.metrics, directory.path / "copy")
        (directory.path / "copy").replace(directory.metrics)
    else:
        shutil.rmtree(directory.path)
    if how == "removed and made again":
        directory.path.mkdir()
        directory.metrics.touch()
    report = Report(None, Progress(step=12), {"loss": 1.0}, None, False, None, False)
    with pytest.raises(
        OSError, match=r"metrics\.jsonl could not be written: it was removed or repl"
    ):
        log.write(report, "samples", 1.0)

"""What a run says on the screen while it is compiled, trained and evaluated."""

import json
import time

import pytest

from tlstm_jax.scripts import display
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training import Report
from tlstm_jax.training.progress import Progress

TASK = memorization(2, 3, batch_size=10)
SMALL = (
    "--task=memorization", "--num_symbols=2", "--alphabet_size=3", "--model=lstm", "--features=4",
    "--eval_samples=20", "--eval_batch_size=20", "--steps_per_call=2",
)  # fmt: skip


class Clock:
    """Replaces time.monotonic."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def _report(step, *, valid=None, state=None):
    progress = Progress(step=step, units=step * TASK.units_per_step)
    valid = None if valid is None else {"accuracy": valid, "loss": 1.0}
    state = "a state" if valid is not None else state
    return Report(state, progress, {"loss": 2.0, "accuracy": 0.5}, valid, False, None, False)


def _show(clock, capsys, timed):
    """The lines that reports, each after its seconds, leave."""
    shown = display.Display(TASK, num_steps=100, start=0)
    for seconds, report in timed:
        clock.now += seconds
        shown.show(report)
    return capsys.readouterr().out.splitlines()


def test_speed_is_of_training_alone(clock, capsys):
    timed = [(50.0, _report(2)), (1.0, _report(4)), (90.0, _report(6, valid=0.5))]
    timed += [(70.0, _report(8)), (3.0, _report(10)), (20.0, _report(12, valid=0.6))]
    lines = _show(clock, capsys, timed)
    assert lines[0].endswith("compiled")  # 50 seconds, with nothing to compare
    assert lines[-1].endswith("; 10 samples/s")  # 4 steps of 10 samples in 4 seconds


def test_speed_of_runs_that_evaluate_after_every_call_leaves_the_compilation_out(clock, capsys):
    timed = [(50.0, _report(2, valid=0.1)), (4.0, _report(4, valid=0.2))]
    lines = _show(clock, capsys, timed)
    assert lines[0].endswith("; compiled")
    assert lines[1].endswith("; 5 samples/s with evaluations")


def test_speed_is_of_late(clock, capsys):
    timed = [(1.0, _report(2)), *((100.0, _report(step)) for step in range(4, 64, 2))]
    timed += [(1.0, _report(step)) for step in range(64, 144, 2)]
    timed += [(31.0, _report(144))]  # a line is due
    lines = _show(clock, capsys, timed)
    rate = float(lines[-1].rsplit("; ", 1)[1].split()[0])
    assert 6 < rate < 20  # 20 a second but for the last one; 0.2 before


def test_an_older_validation_is_marked_as_such(clock, capsys):
    timed = [(1.0, _report(2, valid=0.5)), (40.0, _report(4))]
    lines = _show(clock, capsys, timed)
    assert "; valid: accuracy 50.00 %" in lines[0]
    assert "; valid at step 2: accuracy 50.00 %" in lines[1]


@pytest.mark.slow
def test_a_word_while_compiling_and_while_the_test_split_is_evaluated(program, tmp_path):
    flags = (*SMALL, "--num_steps=8", "--eval_every=4", f"--workdir={tmp_path}/run")
    lines = program("train", *flags).stdout.splitlines()
    assert lines[1] == "compiling, then training"
    assert lines[2].startswith("step 4, ")
    told = next(n for n, line in enumerate(lines) if line.startswith("all steps done"))
    assert lines[told - 1] == "evaluating the best checkpoint on the test split"
    again = program("train", f"--workdir={tmp_path}/run").stdout
    assert "compiling, then" not in again and "evaluating the best checkpoint" in again


@pytest.mark.slow
def test_one_checkpoint_has_one_test_figure_unless_other_samples_are_asked_for(program, tmp_path):
    flags = (*SMALL, "--num_steps=4", "--eval_every=4", "--seed=3", f"--workdir={tmp_path}/run")
    program("train", *flags)
    test = json.loads((tmp_path / "run" / "results.json").read_text())["test"]
    same = json.loads(program("evaluate", f"--workdir={tmp_path}/run").stdout)
    assert {name: same[name] for name in test} == pytest.approx(test, rel=1e-5)
    assert same["samples"] == "the run's own after this step"
    other = json.loads(program("evaluate", f"--workdir={tmp_path}/run", "--eval_seed=0").stdout)
    assert other["loss"] != same["loss"]
    assert other["samples"] == "of --eval_seed=0, others than the run's own"


def test_a_target_that_was_reached_once_is_told_so():
    from tlstm_jax.scripts.train import describe_target

    told = describe_target(TASK, {"units_to_target": None, "best_metric": 0.998, "test": {}})
    assert told == (
        "samples to 99 % accuracy in two evaluations in a row: not reached; the best evaluation "
        "had accuracy 99.80 %"
    )
    told = describe_target(TASK, {"units_to_target": 12000, "best_metric": 0.998, "test": {}})
    assert told == "samples to 99 % accuracy in two evaluations in a row: 12,000"

import csv
import json
import pathlib
import shutil
import signal
import time

import pytest

from tlstm_jax.scripts import train
from tlstm_jax.scripts.sweep import space
from tlstm_jax.scripts.sweep.plan import Sweep

ROOT = pathlib.Path(__file__).parent.parent
SWEEP = (
    "--task=memorization",
    "--num_symbols=2",
    "--alphabet_size=3",
    "--eval_samples=40",
    "--eval_batch_size=40",
    "--model=lstm",
    "--num_steps=40",
    "--eval_every=10",
    "--checkpoint_every=10",
    "--steps_per_call=2",
    "--over=learning_rate=1e-3,1e-2",
    "--over=features=4,5",
    "--over=seed=0..1",
)


@pytest.fixture(scope="module")
def whole(program, tmp_path_factory):
    """A sweep that was not disturbed."""
    workdir = tmp_path_factory.mktemp("sweeps") / "whole"
    return workdir, program("sweep", *SWEEP, f"--workdir={workdir}")


def _rows(workdir):
    return [json.loads(line) for line in (workdir / "results.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_sweep_leaves_a_line_for_each_member_and_runs_that_resume(program, whole, tmp_path):
    workdir, ran = whole
    rows = _rows(workdir)
    assert [(r["learning_rate"], r["features"], r["seed"]) for r in rows] == [
        (rate, channels, seed) for rate in (1e-3, 1e-2) for channels in (4, 5) for seed in (0, 1)
    ]
    table = list(csv.DictReader((workdir / "results.csv").open()))
    assert [float(r["test_accuracy"]) for r in table] == [r["test"]["accuracy"] for r in rows]
    assert (workdir / "sweep.png").read_bytes().startswith(b"\x89PNG")
    means = [sum(r["best_accuracy"] for r in rows[n : n + 2]) for n in range(0, 8, 2)]
    n = 2 * means.index(max(means))
    best = max(rows[n : n + 2], key=lambda r: r["best_accuracy"])
    assert f"best member of it: {best['member']} (learning_rate=" in ran.stdout
    assert "step 40, features=4: 4 members; best so far: accuracy " in ran.stdout
    assert len(list(csv.DictReader((workdir / "settings.csv").open()))) == 4
    assert (workdir / "best").resolve() == (workdir / "members" / str(best["member"])).resolve()
    found = json.loads(program("evaluate", f"--workdir={workdir / 'best'}").stdout)
    assert found["step"] == best["best_step"]
    ran = program("generate", f"--workdir={workdir / 'best'}", "--prompt=-ab---")
    assert ran.stdout.startswith("-ab---\n")
    ran = program("train", f"--workdir={workdir / 'best'}")
    assert "nothing left to do after 40 steps" in ran.stdout


@pytest.mark.slow
def test_a_member_is_the_run_alone(program, whole, tmp_path):
    workdir, _ = whole
    alone = [arg for arg in SWEEP if not arg.startswith("--over")]
    alone += ["--learning_rate=1e-2", "--features=5", "--seed=1", f"--workdir={tmp_path / 'alone'}"]
    program("train", *alone)
    config = "config.json"
    there = json.loads((workdir / "members" / "7" / config).read_text())
    assert there == json.loads((tmp_path / "alone" / config).read_text())
    results = json.loads((tmp_path / "alone" / "results.json").read_text())
    assert _rows(workdir)[7]["test"]["loss"] == pytest.approx(results["test"]["loss"], rel=1e-3)


@pytest.mark.slow
def test_a_sweep_that_is_killed_resumes_and_ends_the_same(start, program, whole, tmp_path):
    workdir = tmp_path / "killed"
    process = start("sweep", *SWEEP, f"--workdir={workdir}")
    # In the middle of the saving of step 10.
    saved = workdir / "members" / "0" / "checkpoints" / "10"
    while not saved.exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (workdir / "results.jsonl").exists()
    program("sweep", f"--workdir={workdir}")

    def untimed(rows):
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]

    assert untimed(_rows(workdir)) == untimed(_rows(whole[0]))
    again = program("sweep", f"--workdir={workdir}")
    assert "best member" in again.stdout and "step 40" not in again.stdout


@pytest.mark.slow
def test_a_sweep_whose_checkpoints_are_damaged_resumes_and_ends_the_same(program, whole, tmp_path):
    workdir = tmp_path / "damaged"
    shutil.copytree(whole[0], workdir, symlinks=True)
    for name in ("results.jsonl", "stops.json", "members/2/results.json"):
        (workdir / name).unlink()
    for member, names in ((2, ("40",)), (5, ("10", "20", "30", "40"))):
        for name in names:
            damaged = workdir / "members" / str(member) / "checkpoints" / name
            if damaged.exists():
                with (damaged / "state" / "_METADATA").open("r+b") as file:
                    file.truncate(100)
    ran = program("sweep", f"--workdir={workdir}")
    assert "2/checkpoints/40 is damaged: state/_METADATA differs from its checksum" in ran.stdout
    assert "; starting from scratch" in ran.stdout
    ours, theirs = ([{**row, "seconds": 0} for row in _rows(w)] for w in (workdir, whole[0]))
    assert ours == theirs
    assert "is damaged" not in program("sweep", f"--workdir={workdir}").stdout


@pytest.mark.slow
def test_ctrl_c_saves_a_sweep_and_says_how_to_resume(start, program, whole, tmp_path):
    workdir = tmp_path / "stopped"
    command = [arg.replace("num_steps=40", "num_steps=400000") for arg in SWEEP]
    process = start("sweep", *command, f"--workdir={workdir}")
    saved = workdir / "members" / "0" / "checkpoints" / "10"
    while not saved.exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate()
    assert process.returncode == 130 and "Traceback" not in out
    assert f"resume with: python -m scripts.sweep --workdir={workdir}" in out


@pytest.mark.slow
def test_successive_halving_on_the_command_line(program, tmp_path):
    workdir = tmp_path / "halved"
    command = [arg for arg in SWEEP if "seed" not in arg]
    program("sweep", *command, "--halving=2", "--halving_steps=10", f"--workdir={workdir}")
    rows = _rows(workdir)
    assert sorted(row["step"] for row in rows) == [10, 10, 20, 40]
    ends = ["all steps done", "dropped after 10 steps", "dropped after 10 steps"]
    assert sorted(row["stop"] for row in rows) == [*ends, "dropped after 20 steps"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "over is not given"),
        (["--over=learning_rate"], "over is 'learning_rate'; accepted is name=values"),
        (["--over=task=addition"], "over names 'task'"),
        (["--over=nonsense=1"], "over names 'nonsense'"),
        (["--over=seed=3..1"], "seed is 3..1; accepted is first..last"),
        (["--over=seed=0..9999999999999"], "accepted is first..last, of up to 10,000 values"),
        (["--over=seed=0..9999", "--over=features=4,5"], "the sweep has 20,000 members; accepted"),
        (["--over=features=4,x"], "features is 4,x"),
        (["--over=features=4,99999999"], "features is 99999999; accepted are integers from"),
        (["--over=learning_rate=log:1:inf"], "learning_rate is log:1:inf; accepted are"),
        (["--over=learning_rate=log:1"], "accepted is log:low:high"),
        (["--over=learning_rate=log:1e-3:1e-1"], "a range for random search"),
        (["--over=learning_rate=1e-3,-1"], "learning_rate is -1.0"),
        (["--over=features=0"], "features is 0"),
        (["--over=seed=0", "--seed=1"], "--seed is given and swept over"),
        (["--over=seed=0", "--over=seed=1"], "over names seed twice"),
        (
            ["--over=seed=0", "--halving=2"],
            "halving is 2, halving_steps is None; accepted are both",
        ),
        (["--over=depth=2"], "--depth is not a setting of task memorization, model lstm"),
    ],
)
def test_what_cannot_be_swept_is_refused_in_one_line(args, message):
    assert "seed" in train.RUN_FLAGS  # the flags of any program that trains
    over = [arg.removeprefix("--over=") for arg in args if arg.startswith("--over")]
    given = {"task": "memorization", "num_symbols": 2, "model": "lstm"}
    given |= dict(arg.removeprefix("--").split("=") for arg in args if not arg.startswith("--over"))
    halving = int(given.pop("halving")) if "halving" in given else None
    with pytest.raises(ValueError) as error:
        Sweep.make(given, None, space.parse(over), halving=halving)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.slow
def test_a_folder_with_something_else_is_left_alone(program, whole, tmp_path):
    workdir, _ = whole
    ran = program("sweep", *SWEEP, "--num_digits=3", f"--workdir={workdir}", code=1)
    assert "--num_digits is not a setting" in ran.stderr
    ran = program("sweep", *SWEEP, "--clip_norm=2", f"--workdir={workdir}", code=1)
    assert "holds another sweep; " in ran.stderr
    ran = program("sweep", *SWEEP[:-3], f"--workdir={tmp_path / 'new'}", code=1)
    assert "over is not given" in ran.stderr and not (tmp_path / "new").exists()
    ran = program("sweep", f"--workdir={tmp_path / 'nothing'}", code=1)
    assert "holds no sweep.json; " in ran.stderr

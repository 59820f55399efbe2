"""The short form of `python -m scripts.endurance`, and its parts."""

import pathlib
import random
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from tlstm_jax import training
from tlstm_jax.runs import settings
from tlstm_jax.runs.directory import RunDirectory
from tlstm_jax.scripts.endurance.compare import check_same
from tlstm_jax.scripts.endurance.damage import KINDS, damage
from tlstm_jax.scripts.endurance.harness import Plan
from tlstm_jax.scripts.endurance.memory import check_flat, held_kilobytes, trend
from tlstm_jax.scripts.endurance.starts import EnduranceError
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training import checkpointing

SHORT = ("--kills=3", "--saves=1", "--full=1", "--damages=1", "--steps=60")


@pytest.fixture(scope="module")
def endured(program, tmp_path_factory):
    folder = tmp_path_factory.mktemp("endured")
    return folder, program("endurance", *SHORT, f"--workdir={folder}").stdout


@pytest.mark.slow
def test_a_run_that_is_killed_and_damaged_ends_bit_for_bit_the_same(endured):
    counts = {
        name.strip(): int(count)
        for name, _, count in (line.rpartition("  ") for line in endured[1].splitlines())
        if count.isdecimal()
    }
    assert counts["kills"] >= 3 and counts["kills inside a save"] >= 1
    assert counts["full disks"] == 1 and counts["damages"] == 1
    assert counts["damaged checkpoints named"] >= 1 and counts["arrays compared"] > 0
    assert "all runs ended the same, bit for bit" in endured[1]


@pytest.fixture
def pair(endured, tmp_path):
    """Copies of a run that was disturbed, and of the one that was not."""
    folder = endured[0]
    disturbed = sorted(folder.glob("disturbed-*"))[0]
    for path in (disturbed, folder / "undisturbed"):
        shutil.copytree(path, tmp_path / path.name)
    return tmp_path / disturbed.name, tmp_path / "undisturbed"


@pytest.mark.slow
def test_any_difference_is_found(pair):
    run = RunDirectory(pair[0])
    assert check_same(*pair) > 0
    for path, old in ((run.metrics, '"loss": '), (run.results, '"best_step": ')):
        text = path.read_text()
        path.write_text(text.replace(old, f"{old}1", 1))
        with pytest.raises(EnduranceError, match=f"^{path} differs from"):
            check_same(*pair)
        path.write_text(text)
    task, network, train = run.read_config().make()
    like = training.abstract_state(network, task, train)
    state, progress = checkpointing.restore(run.checkpoints, like)
    leaves, tree = jax.tree.flatten(state.params)
    leaves[-1] = np.nextafter(np.asarray(leaves[-1]), np.float32(9), dtype=np.float32)
    shutil.rmtree(run.checkpoints / str(progress.step))
    state = state._replace(params=jax.tree.unflatten(tree, leaves))
    checkpointing.save(run.checkpoints, state, progress)
    with pytest.raises(EnduranceError, match=r"^\.params.* of .* differs from that of"):
        check_same(*pair)


@pytest.mark.slow
def test_programs_that_read_name_the_damage_and_move_nothing(pair, program):
    run = RunDirectory(pair[1])
    last = run.checkpoints / str(checkpointing.steps(run.checkpoints)[-1])
    name = damage(last, "flipped bit", random.Random(0))
    before = sorted(run.path.rglob("*"))
    for which in ("best", "latest"):
        ran = program("evaluate", f"--workdir={run.path}", f"--checkpoint={which}", code=1)
        assert ran.stderr == (
            f"error: checkpoint {last.absolute()} is damaged: {name} differs from "
            f"its {'own ' * (name == 'SHA256SUMS')}checksum\n"
        )
    assert sorted(run.path.rglob("*")) == before
    ran = program("train", f"--workdir={run.path}")
    assert f"checkpoint {last} is damaged: {name} differs" in ran.stdout
    assert f"it is now {last.name}.damaged; resuming from step " in ran.stdout
    check_same(pair[0], pair[1])


@pytest.mark.slow
def test_what_is_said_of_a_run_that_has_ended_stays(pair, program):
    run = RunDirectory(pair[1])
    before = run.results.read_text()
    program("train", f"--workdir={run.path}")
    assert run.results.read_text() == before and '"stop": "all steps done"' in before


def test_a_full_disk_behind_the_screen_is_one_line(environment):
    if not pathlib.Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "scripts.train", "--list_presets"]
        ran = subprocess.run(
            command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert ran.returncode == 1
    assert ran.stderr == "error: [Errno 28] No space left on device\n"


@pytest.mark.parametrize("kind", KINDS)
def test_damage_changes_one_file(kind, tmp_path):
    for name in ("a", "b", "empty"):
        (tmp_path / name).write_bytes(b"content" * (name != "empty"))
    name = damage(tmp_path, kind, random.Random(1))
    contents = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert contents.pop(name, b"") != b"content" and contents.pop("empty") == b""
    assert set(contents.values()) == {b"content"}


def test_a_plan_is_a_function_of_its_seed():
    plan = Plan(kills=50, saves=15, full=5, damages=12, steps=100, seed=0)
    events = plan.events()
    assert events == plan.events() != plan._replace(seed=1).events()
    assert events.count("full") == 5 and events.count("save") == 15 and len(events) == 55


CHOSEN = settings.resolve({"task": "memorization", "num_symbols": 2, "alphabet_size": 3}, None)


def test_a_folder_whose_claim_was_interrupted_is_claimed_again(tmp_path):
    task, run = memorization(**CHOSEN.task_settings), RunDirectory(tmp_path / "run")
    run.path.mkdir()
    (run.path / "config.json.tmp").write_text('{"task": "mem')
    run.claim(CHOSEN, task)
    assert sorted(p.name for p in run.path.iterdir()) == ["config.json", "data.json"]
    run.data.unlink()
    run.claim(CHOSEN, task)
    run.config.unlink()
    with pytest.raises(ValueError, match="exists and holds no run"):
        run.claim(CHOSEN, task)


def test_of_a_long_log_every_nth_line_is_read(tmp_path):
    run = RunDirectory(tmp_path)
    line = '{"step": %d, "samples": 1, "seconds": 1, "train": {}%s}\n'
    lines = [line % (n, ', "valid": {}' * (n % 10 == 0)) for n in range(1, 1001)]
    run.metrics.write_text("".join(lines))
    assert [r["step"] for r in run.read_metrics()] == list(range(1, 1001))
    assert run.read_metrics(most=900) == run.read_metrics()
    records = run.read_metrics(most=64)
    evaluated = [r["step"] for r in records if "valid" in r]
    assert evaluated == list(range(10, 1001, 20))
    others = [r["step"] for r in records if "valid" not in r]
    assert 32 <= len(others) <= 64 and others == sorted(others) and others[-1] > 950


NOISE = np.random.default_rng(0).integers(0, 3000, 2000)


@pytest.mark.parametrize(
    ("bytes_each_step", "passes"), [(0, True), (200, True), (600, False), (5000, False)]
)
def test_memory_that_grows_is_found(bytes_each_step, passes):
    samples = [
        (
            10 * n,
            500_000 + 20_000 * (n % 10 == 0) + int(NOISE[n]) + 10 * n * bytes_each_step // 1024,
        )
        for n in range(2000)
    ]
    samples[:100] = [(step, size - 100_000) for step, size in samples[:100]]
    found = trend(samples)
    assert found.slope == pytest.approx(bytes_each_step / 1.024, abs=30)
    if passes:
        check_flat(found)
    else:
        with pytest.raises(EnduranceError, match=r"memory grows by .* kB per 1,000 steps; acc"):
            check_flat(found)


def test_few_samples_are_no_trend():
    for samples in ([], [(1, 2)] * 100):
        with pytest.raises(EnduranceError, match="accepted are 20 or more"):
            trend(samples)


def test_the_memory_of_a_process():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    if pathlib.Path("/proc/self/status").exists():
        assert 0 < held_kilobytes(process.pid) < 10**6
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert held_kilobytes(process.pid) is None

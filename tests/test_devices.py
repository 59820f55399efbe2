"""Training on several devices, and with several processes, against the same on one device."""

import functools
import json
import pathlib
import re
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from tlstm_jax import LSTM, training, unroll
from tlstm_jax.devices import layout
from tlstm_jax.devices.layout import make_layout
from tlstm_jax.runs.directory import RunDirectory
from tlstm_jax.training import checkpointing

ROOT = pathlib.Path(__file__).parent.parent
EIGHT = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"}
RUN = (
    "--task=memorization",
    "--num_symbols=2",
    "--alphabet_size=3",
    "--batch_size=8",
    "--eval_samples=16",
    "--eval_batch_size=16",
    "--model=tlstm",
    "--tensor_shape=2",
    "--features=4",
    "--eval_every=4",
    "--checkpoint_every=4",
    "--steps_per_call=2",
)
# Sums over a batch at every step; Fourier transforms, which XLA does not shard; a batch d times as
# large; JAX's own gradient of a loop that is not over time.
CHATTY = ("bn_lstm", "urnn", "dilated", "neural_gpu", "extended_neural_gpu")


@pytest.fixture(scope="module")
def on_devices(environment, tmp_path_factory):
    """(name, mesh) -> what `on_devices.py` found."""
    text = tmp_path_factory.mktemp("text") / "text.txt"
    text.write_bytes(b"the quick brown fox jumps over the lazy dog. " * 60)
    ran = subprocess.run(
        [sys.executable, "tests/on_devices.py", str(text)],
        cwd=ROOT,
        env={**environment, **EIGHT, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    lines = map(json.loads, ran.stdout.splitlines())
    found = {(line["name"], tuple(line["mesh"])): line for line in lines}
    assert len(found) > 30
    return found


@pytest.mark.slow
def test_what_eight_devices_compute_is_what_one_does(on_devices):
    # A shift before batch normalization has no gradient but rounding errors, of which Adam makes
    # steps.
    errors = {case: line["error"] for case, line in on_devices.items()}
    assert {
        case: error
        for case, error in errors.items()
        if error > (1e-3 if case[0] == "bn_lstm" else 1e-5)
    } == {}


@pytest.mark.slow
def test_a_footprint_is_that_of_the_gradient(program):
    task = ("--task=memorization", "--model=lstm", "--features=100", "--batch_size=8")
    ran = program("footprint", *task, "--mesh=4")
    lines = dict(re.split(r"  +", line) for line in ran.stdout.splitlines())
    assert lines["devices"] == "4"
    (sent,) = [v for k, v in lines.items() if k.startswith("all-reduce")]
    gradient = 4 * int(lines["parameters"].replace(",", "")) / 1e6
    assert float(sent.removesuffix(" MB")) == pytest.approx(gradient, abs=0.051)
    assert "mesh has 5000 devices" in program("footprint", *task, "--mesh=5000", code=1).stderr


@pytest.mark.slow
def test_the_parts_of_a_batch_meet_once_in_a_step(on_devices):
    on_eight = {name: line for (name, mesh), line in on_devices.items() if mesh == (8, 1)}
    for name, line in on_eight.items():
        if name not in CHATTY:
            kinds = {kind for kind, _ in line["collectives"]}
            assert kinds == {"all-reduce"}, f"{name}: {kinds}"
    in_loops = {
        n for n, line in on_eight.items() if any(inside for _, inside in line["collectives"])
    }
    assert in_loops <= set(CHATTY)
    assert any(in_loop for _, in_loop in on_devices["lstm", (4, 2)]["collectives"])


def test_a_mesh_that_there_are_no_devices_for():
    for mesh in ((0,), (2, 3), (len(jax.devices()) + 1,)):
        with pytest.raises(ValueError, match=r"mesh is .*; accepted are sizes >= 1 with a product"):
            make_layout(*mesh)


def test_a_mesh_of_the_users_own_is_left_to_the_user():
    cell, xs = LSTM(4), jax.random.normal(jax.random.key(1), (5, 2, 3))
    params = cell.init(jax.random.key(0), 3)
    axis = jax.sharding.AxisType.Auto
    with jax.set_mesh(jax.make_mesh((1, 1), ("batch", "model"), (axis, axis))):
        program = jax.make_jaxpr(functools.partial(unroll, cell))(params, cell.init_carry(2), xs)
    assert "sharding_constraint" not in str(program)
    with layout.tracing(make_layout(1)):
        program = jax.make_jaxpr(functools.partial(unroll, cell))(params, cell.init_carry(2), xs)
    assert "sharding_constraint" in str(program)


@pytest.fixture
def two(start):
    """Starts a program as two processes that meet; (return code, output) of each."""

    def run(*args, own=((), ()), until=None):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        meet = (f"--coordinator=localhost:{port}", "--num_processes=2")
        meet = (*meet, "--coordinator_timeout=3000")
        both = [start("train", *args, *meet, f"--process_id={n}", *own[n]) for n in range(2)]
        try:
            if until is not None:
                until(both)
            return [(p.returncode, out) for p in both for out in [p.communicate()[0]]]
        finally:
            for process in both:
                process.kill()

    return run


def metrics(workdir):
    """Of all steps, without the time."""
    records = RunDirectory(workdir).read_metrics()
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def state(workdir):
    """The last checkpoint, on one device."""
    task, network, train = RunDirectory(workdir).read_config().make()
    like = training.abstract_state(network, task, train)
    return checkpointing.restore(pathlib.Path(workdir) / "checkpoints", like).state


@pytest.mark.slow
def test_a_run_resumes_with_other_processes_and_devices(two, program, tmp_path):
    alone, moved = tmp_path / "alone", tmp_path / "moved"
    program("train", *RUN, "--num_steps=12", f"--workdir={alone}")

    first, second = two(*RUN, "--num_steps=4", f"--workdir={moved}")
    assert (first[0], second[0]) == (0, 0), first[1] + second[1]
    assert "2 devices in 2 processes: batches sharded in 2, kernels in 1" in first[1]
    assert "all steps done after 4 steps" in first[1]
    assert "step" not in second[1]  # the first alone prints

    spread = (*RUN, "--num_steps=8", "--mesh=4,2", f"--workdir={moved}")
    ran = program("train", *spread, **EIGHT)
    assert "8 devices in 1 process: batches sharded in 4, kernels in 2" in ran.stdout
    assert "resuming from step 4" in ran.stdout

    first, second = two(*RUN, "--num_steps=12", "--mesh=1,2", f"--workdir={moved}")
    assert (first[0], second[0]) == (0, 0), first[1] + second[1]
    assert "resuming from step 8" in first[1]

    for ours, others in zip(metrics(alone), metrics(moved), strict=True):
        assert ours["step"] == others["step"]
        for part in ("train", "valid"):
            assert others.get(part, {}) == pytest.approx(ours.get(part, {}), rel=1e-4)
    assert int(state(moved).step) == 12
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        state(alone).params,
        state(moved).params,
    )
    results = [json.loads((path / "results.json").read_text()) for path in (alone, moved)]
    assert results[1]["test"] == pytest.approx(results[0]["test"], rel=1e-4)
    evaluated = json.loads(program("evaluate", f"--workdir={moved}").stdout)
    assert evaluated["step"] == results[0]["best_step"]


@pytest.mark.slow
def test_a_signal_to_one_process_stops_and_saves_all(two, tmp_path):
    workdir = tmp_path / "run"

    def terminate(processes):
        for line in processes[0].stdout:
            if line.startswith("step 4,"):
                processes[1].send_signal(signal.SIGTERM)
                return

    first, second = two(*RUN, "--num_steps=100000", f"--workdir={workdir}", until=terminate)
    assert (first[0], second[0]) == (143, 143), first[1] + second[1]
    assert "stopped by SIGTERM: saved step" in first[1]
    assert "stopped by SIGTERM: finishing the running call" in second[1]
    assert int(state(workdir).step) >= 4


def test_a_mistake_of_one_process_ends_all_with_one_line(two, tmp_path):
    run = ("--task=char_lm", "--model=lstm", "--features=4", f"--workdir={tmp_path / 'run'}")
    first, second = two(*run, own=((), ("--data_path=/nowhere",)))
    assert first[0] == second[0] == 1
    assert "error: process 1: data_path '/nowhere' does not exist" in first[1]
    assert "error: data_path '/nowhere' does not exist" in second[1]
    assert "Traceback" not in first[1] + second[1]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow(but=["flags0"])
@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--mesh=64"], "mesh is 64,1; accepted are sizes >= 1 with a product of at most"),
        (["--mesh=1,1,1"], "mesh is 1,1,1; accepted are one or two sizes"),
        (["--num_processes=2"], "--coordinator, --process_id missing; accepted are"),
        (["--coordinator=here"], "--num_processes, --process_id missing; accepted are"),
        (
            ["--coordinator=here", "--num_processes=2", "--process_id=0"],
            "coordinator is 'here'; accepted are auto, or host:port",
        ),
        (
            ["--coordinator=here:1", "--num_processes=2", "--process_id=2"],
            "process_id is 2; accepted with 2 processes are 0 to 1",
        ),
        (["--coordinator=auto", "--process_id=1"], "coordinator is auto; accepted is that without"),
    ],
)
def test_wrong_flags(flags, line, program, tmp_path):
    ran = program("train", *RUN, f"--workdir={tmp_path / 'run'}", *flags, code=1)
    assert line in ran.stderr and len(ran.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_batch_that_cannot_be_sharded(program, tmp_path):
    run = (*RUN, "--batch_size=6", "--mesh=4", f"--workdir={tmp_path / 'run'}")
    ran = program("train", *run, code=1, **EIGHT)
    assert (
        "batch_size is 6; accepted with 4 devices along the batch are multiples of 4" in ran.stderr
    )

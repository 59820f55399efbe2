"""Programs whose terminal, pipe, platform or other processes are not there, or go away."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest
from absl import flags
from absl.testing import flagsaver

from tlstm_jax.runs import settings
from tlstm_jax.runs.files import check_folder
from tlstm_jax.scripts import cli, output, train
from tlstm_jax.tasks.data import text
from tlstm_jax.training import checkpointing

ROOT = pathlib.Path(__file__).parent.parent
SMALL = (
    "--task=memorization", "--num_symbols=2", "--alphabet_size=3", "--model=lstm", "--features=4",
    "--eval_samples=20", "--eval_batch_size=20", "--steps_per_call=2", "--eval_every=4",
)  # fmt: skip
LONG = (*SMALL, "--num_steps=4000000", "--checkpoint_every=4000000")


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_a_training_ends_well_with_closed_streams(closed, environment, tmp_path):
    command = [sys.executable, "-m", "scripts.train", *SMALL, "--num_steps=4"]
    shell = ["bash", "-c", f'exec "$@" {closed}', "bash", *command, f"--workdir={tmp_path}/run"]
    ran = subprocess.run(shell, cwd=ROOT, env=environment, capture_output=True)
    assert ran.returncode == 0 and b"Traceback" not in ran.stderr
    assert json.loads((tmp_path / "run" / "results.json").read_text())["step"] == 4


def test_a_training_whose_reader_goes_away_saves_and_says_so_by_its_code(start, tmp_path):
    process = start("train", *LONG, f"--workdir={tmp_path}/run")
    process.stdout.readline()
    process.stdout.close()  # as head -1 does
    assert process.wait() == 128 + signal.SIGPIPE
    (step,) = {checkpointing.steps(tmp_path / "run" / "checkpoints")[-1]}
    assert 0 < step < 4000000


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_training_saves_and_ends_with_the_code_of_its_signal(number, start, tmp_path):
    process = start("train", *LONG, f"--workdir={tmp_path}/run")
    for line in process.stdout:
        if line.startswith("step"):
            break
    process.send_signal(number)
    rest = process.stdout.read()
    assert process.wait() == 128 + number, rest
    assert f"stopped by {number.name}: saved step" in rest


def test_a_lost_terminal_does_not_end_a_training_before_it_saves(monkeypatch):
    read, write = os.pipe()
    os.close(read)
    stream = output.Output(os.fdopen(write, "wb"), "utf-8", write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    signals = cli.StopSignals()
    assert signals.reason is None
    print("a line", flush=True)
    print("another", flush=True)
    assert signals.reason == cli.GONE and cli.exit_code(signals.reason) == 141


def test_a_full_disk_is_still_an_error_of_standard_output():
    stream = output.Output(os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb"), "utf-8")
    with pytest.raises(OSError, match="No space left"):
        print("a line", file=stream, flush=True)
    stream.drop()
    stream.close()


def test_a_program_whose_output_is_full_ends_with_one_line(environment):
    command = f"{sys.executable} -m scripts.train --list_presets > /dev/full"
    shell = ["bash", "-c", command]
    ran = subprocess.run(shell, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ran.returncode == 1
    assert ran.stderr == "error: [Errno 28] No space left on device\n"


def test_signals_that_are_ignored_or_come_twice(monkeypatch):
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with cli.StopSignals() as signals:  # as under nohup
            signal.raise_signal(signal.SIGHUP)
            assert signals.reason is None
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with cli.StopSignals() as signals:
            for _ in range(2):  # of a terminal that closes
                signal.raise_signal(signal.SIGHUP)
            assert signals.reason == "stopped by SIGHUP" and not codes
            signal.raise_signal(signal.SIGTERM)
        assert codes == [143]
    finally:
        signal.signal(signal.SIGHUP, before)
    assert cli.exit_code("out of time") == cli.exit_code(None) == 0


@pytest.mark.parametrize("name", ["train", "sweep", "evaluate"])
def test_ctrl_c_while_a_program_is_imported_is_no_traceback(name, environment, tmp_path):
    (tmp_path / "jax.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", f"scripts.{name}", f"--workdir={tmp_path}/run"],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGINT)
    assert process.wait() == -signal.SIGINT and process.stderr.read() == ""


def test_an_unknown_backend_of_matplotlib_is_no_matter(program, tmp_path):
    flags_ = (*SMALL, "--num_steps=4", f"--workdir={tmp_path}/run")
    program("train", *flags_, MPLBACKEND="nonsense")
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("given", "variables", "message"),
    [
        ("--platform=gpu", {}, "error: platform is 'gpu', but JAX finds no such device here"),
        (
            "--features=4",
            {"JAX_PLATFORMS": "nonsense"},
            "error: JAX_PLATFORMS is 'nonsense', but JAX finds no such device here",
        ),
    ],
)
def test_a_platform_that_is_not_there_is_one_line(given, variables, message, program, tmp_path):
    ran = program("train", *SMALL, given, f"--workdir={tmp_path}/run", code=1, **variables)
    (line,) = ran.stderr.splitlines()
    assert line.startswith(message) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("index", [0, 1])
def test_processes_that_do_not_meet_are_told_in_one_line(index, program, tmp_path):
    meet = ("--coordinator=localhost:9", "--num_processes=2", f"--process_id={index}")
    if index == 0:  # a free port
        meet = ("--coordinator=localhost:23457", *meet[1:])
    meet = (*meet, "--coordinator_timeout=2")
    ran = program("train", *SMALL, *meet, f"--workdir={tmp_path}/run", code=1)
    waits, ended = ran.stderr.splitlines()
    assert f"this one, {index}, waits up to 2 seconds for 2 processes" in waits
    assert ended.startswith("error: coordinator is localhost:")
    assert ended.endswith("2 processes did not meet there within 2 seconds")


PATHS = (train.WORKDIR.name, *sorted(settings.PATHS))


@pytest.mark.parametrize("name", PATHS)
def test_home_is_expanded_in_paths(name, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with flagsaver.flagsaver():
        flags.FLAGS(["train", f"--{name}=~/here"])
        assert flags.FLAGS[name].value == f"{tmp_path}/here"


def test_home_is_expanded_in_python(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    chosen = settings.resolve({"task": "char_lm", "data_path": "~/text.txt"}, None)
    assert chosen.task_settings["data_path"] == f"{tmp_path}/text.txt"
    (tmp_path / "text.txt").write_bytes(b"some text")
    assert text.read_text("~/text.txt") == b"some text"


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/x/\udcff", r"is not UTF-8; accepted are paths in UTF-8"),
        ("~nobody-of-this-name/x", r"is in the home of an unknown user; accepted is \./~nobody"),
    ],
)
def test_paths_that_cannot_be(name, path, message):
    with flagsaver.flagsaver(), pytest.raises(flags.IllegalFlagValueError, match=message):
        flags.FLAGS(["train", f"--{name}={path}"])


def test_a_link_to_nowhere_is_no_folder(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"link is a broken link to .*nowhere; accepted is a"):
        check_folder(str(link))
    (tmp_path / "nowhere").mkdir()
    check_folder(str(link))
    check_folder(None)

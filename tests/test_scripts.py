"""The programs as a user runs them."""

import json
import pathlib
import signal
import struct

import numpy as np
import pytest

from tlstm_jax.runs.directory import RunDirectory
from tlstm_jax.tasks.data.cifar import FILES
from tlstm_jax.training import checkpointing

ROOT = pathlib.Path(__file__).parent.parent
QUICK = ("--num_steps=4", "--eval_every=2", "--steps_per_call=2", "--features=4")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_bytes(b"the quick brown fox jumps over the lazy dog. " * 60)
    return path


@pytest.fixture(scope="module")
def idx(tmp_path_factory):
    """A tiny MNIST, and a tiny CIFAR-10: 40 training and 8 test images."""
    path, rng = tmp_path_factory.mktemp("idx"), np.random.default_rng(0)
    for stem, n in (("train", 40), ("t10k", 8)):
        for kind, array in (
            ("images-idx3", rng.integers(0, 256, (n, 28, 28), np.uint8)),
            ("labels-idx1", np.arange(n, dtype=np.uint8) % 10),
        ):
            header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(
                ">" + "I" * array.ndim, *array.shape
            )
            (path / f"{stem}-{kind}-ubyte").write_bytes(header + array.tobytes())
    for name in (name for files in FILES.values() for name in files):
        records = rng.integers(0, 10, (8, 3073), np.uint8)
        (path / name).write_bytes(records.tobytes())
    return path


TASKS = {
    "addition": ("--num_digits=2", "--eval_samples=20"),
    "memorization": ("--num_symbols=2", "--alphabet_size=3", "--eval_samples=20", "--model=trnn"),
    "copy": ("--num_symbols=2", "--delay=3", "--eval_samples=20", "--model=urnn"),
    "duplication": ("--num_symbols=2", "--eval_samples=20", "--model=lstm"),
    "reversal": ("--num_symbols=2", "--alphabet_size=3", "--eval_samples=20", "--model=gru"),
    "associative_recall": ("--num_pairs=3", "--eval_samples=20", "--model=fast_weights"),
    "multi_query_recall": (
        "--num_pairs=2",
        "--num_keys=16",
        "--num_values=3",
        "--eval_samples=20",
        "--model=lstm",
    ),
    "induction_copy": ("--num_symbols=3", "--eval_samples=20", "--model=gru"),
    "state_tracking": ("--group=s3", "--sequence_length=5", "--eval_samples=20", "--model=elman"),
    "parity": ("--sequence_length=5", "--eval_samples=20", "--model=lstm"),
    "modular_counter": (
        "--modulus=3",
        "--sequence_length=5",
        "--eval_samples=20",
        "--model=lstm",
    ),
    "dyck": (
        "--num_kinds=3",
        "--max_depth=2",
        "--sequence_length=5",
        "--eval_samples=20",
        "--model=lstm",
    ),
    "balanced_brackets": ("--sequence_length=6", "--eval_samples=20", "--model=lstm"),
    "adding": ("--sequence_length=5", "--eval_samples=20", "--model=irnn"),
    "pdigits": ("--model=gru", "--batch_size=5"),
    "mnist": ("--model=elman", "--batch_size=5", "--data_dir={idx}"),
    "cifar10": ("--model=lstm", "--batch_size=5", "--data_dir={idx}", "--colour"),
    "prows_mnist": ("--model=conv_lstm", "--batch_size=5", "--data_dir={idx}"),
    "moving_digits": (
        "--model=conv_lstm",
        "--canvas=9",
        "--num_frames=4",
        "--eval_samples=5",
        "--eval_batch_size=3",
    ),
    "pixels_digits": ("--model=lstm", "--batch_size=5"),
    "char_lm": (
        "--data_path={text}",
        "--batch_size=2",
        "--segment_length=9",
        "--eval_batch_size=2",
    ),
}

LONGER = {  # tested on longer sequences as well
    *("multi_query_recall", "induction_copy", "state_tracking", "parity", "modular_counter"),
    *("dyck", "balanced_brackets"),
}


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_task_trains_resumes_and_evaluates(task, program, text, idx, tmp_path):
    workdir, own_text = tmp_path / "run", tmp_path / "text.txt"
    own_text.write_bytes(text.read_bytes())
    flags = [flag.format(text=own_text, idx=idx) for flag in TASKS[task]]
    command = (f"--task={task}", *QUICK, *flags, f"--workdir={workdir}")
    out = program("train", *command).stdout
    assert "all steps done after 4 steps" in out
    assert f"learning curves: {workdir}/curves.png" in out
    assert (workdir / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list(workdir.glob("events.out.tfevents.*"))
    records = RunDirectory(workdir).read_metrics()
    assert [r["step"] for r in records] == [2, 4]
    assert all(np.isfinite(r["valid"]["loss"]) for r in records)
    again = program("train", f"--workdir={workdir}").stdout
    assert "resuming from step 4" in again and "nothing left to do" in again
    results = json.loads((workdir / "results.json").read_text())
    metrics = json.loads(program("evaluate", f"--workdir={workdir}").stdout)
    assert metrics["task"] == task and metrics["step"] == results["best_step"]
    assert metrics["loss"] == pytest.approx(results["test"]["loss"], rel=1e-5)
    assert ("longer" in results) == (task in LONGER)
    if task in LONGER:
        assert "on sequences 8 times as long: accuracy" in out
        assert list(results["longer"]) == ["2", "4", "8"]
        for times, longer in results["longer"].items():
            assert longer == pytest.approx(metrics["longer"][times], rel=1e-5)
            assert longer["loss"] != results["test"]["loss"]
    if task == "char_lm" or "digits" in task or "mnist" in task:  # whose test part is fixed
        ran = program("evaluate", f"--workdir={workdir}", "--eval_seed=1", code=1)
        assert "eval_seed is 1; accepted for task" in ran.stderr
    if task == "char_lm":
        for found in (metrics, results):
            assert (found["excluded_characters"], found["unknown_characters"]) == (1, 0)
        assert results["comparable"] is True
        assert f"text: {own_text} (2,700 bytes); bytes unseen in its training part: none" in out
        assert "of the test part: excluded_characters 1, unknown_characters 0" in out
        own_text.unlink()  # it is not needed for what follows
        written = program(
            "generate", f"--workdir={workdir}", "--prompt=the ", "--num_tokens=7", "--top_k=3"
        ).stdout
        assert written.startswith("the ") and len(written) == len("the ") + 7 + 1
    if task == "pdigits":
        ran = program("generate", f"--workdir={workdir}", "--prompt=1", code=1)
        assert ran.stderr == (
            "error: task pdigits reads no tokens; accepted with a prompt are tasks that do\n"
        )
    if task in ("moving_digits", "pixels_digits"):
        drawn = program("visualize", f"--workdir={workdir}").stdout.splitlines()
        name = {"moving_digits": "rollout", "pixels_digits": "samples"}[task]
        assert drawn[0] == f"{workdir}/pictures/{name}.png"
        assert (workdir / "pictures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert drawn[1].startswith("2 frames after 2, fed back: loss (nats per frame)") or (
            drawn[1] == "64 samples"
        )
        assert drawn[2] == f"{workdir}/pictures/memory.png"
    if task == "pixels_digits":
        written = program(
            "generate", f"--workdir={workdir}", "--prompt=0001", "--num_tokens=60"
        ).stdout
        assert written.startswith("0001") and len(written) == 64 + 1 and set(written) <= set("01\n")
        ran = program("train", "--task=pixels_digits", "--by=rows", "--model=lstm", code=1)
        assert ran.stderr == (
            "error: the inputs of pixels_digits are its targets, which a LSTM would see; accepted "
            "are models with row_mask A\n"
        )
    if task == "adding":
        assert "samples to loss 0.01 in two evaluations in a row: not reached" in out
        assert "accuracy" not in out + json.dumps(records) + json.dumps(results)
        ran = program("generate", f"--workdir={workdir}", "--prompt=1", code=1)
        assert ran.stderr.startswith("error: task adding reads no tokens; accepted with a prompt")
        drawn = program("visualize", f"--workdir={workdir}").stdout.split()
        assert drawn == [f"{workdir}/pictures/hidden.png"]
    if task == "duplication":  # trained at 2, evaluated at 5
        longer = json.loads(program("evaluate", f"--workdir={workdir}", "--num_symbols=5").stdout)
        assert longer["sizes"] == {"num_symbols": 5} and longer["step"] == metrics["step"]
        assert longer["samples"] == "of other sizes than the run's own"
        assert longer["loss"] != metrics["loss"]
        ran = program("evaluate", f"--workdir={workdir}", "--num_pairs=5", code=1)
        assert ran.stderr.startswith("error: --num_pairs is not a setting of task duplication")
        ran = program("evaluate", f"--workdir={workdir}", "--num_symbols=0", code=1)
        assert ran.stderr.startswith("error: num_symbols is 0; accepted are integers from 1")
    if task == "memorization":
        answer = program("generate", f"--workdir={workdir}", "--prompt=-ab---").stdout.split()
        assert answer[0] == "-ab---" and len(answer[1]) == 2  # what is asked for


def test_a_stopped_run_resumes_and_ends_bit_for_bit_the_same(program, start, text, tmp_path):
    command = (
        "--task=char_lm", f"--data_path={text}", "--batch_size=2", "--segment_length=9",
        "--num_steps=600", "--eval_every=50", "--steps_per_call=1", "--features=4",
        "--checkpoint_every=600",
    )  # fmt: skip
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    program("train", *command, f"--workdir={whole}")
    stops = []
    for number in (signal.SIGINT, signal.SIGTERM):
        process = start("train", *command, f"--workdir={parts}")
        for line in process.stdout:
            if line.startswith("step"):
                break
        process.send_signal(number)
        rest = process.stdout.read()
        assert process.wait() == 128 + number, rest
        assert f"resume with: python -m scripts.train --workdir={parts}" in rest
        stops.append(checkpointing.steps(parts / "checkpoints")[-1])
    assert 0 < stops[0] < stops[1] < 600
    program("train", f"--workdir={parts}")
    records = [RunDirectory(path).read_metrics() for path in (whole, parts)]
    assert [r["step"] for r in records[0]] == [r["step"] for r in records[1]]
    assert [r["train"] for r in records[0]] == [r["train"] for r in records[1]]
    _, network, _ = RunDirectory(whole).read_config().make()
    ends = [
        checkpointing.restore_params(path / "checkpoints", network, step="latest")
        for path in (whole, parts)
    ]
    assert ends[0][2] == ends[1][2]
    for a, b in zip(*(sorted_leaves(end[0]) for end in ends), strict=True):
        np.testing.assert_array_equal(a, b)


def sorted_leaves(params):
    import jax

    return [np.asarray(leaf) for leaf in jax.tree.leaves(params)]


def test_time_is_limited(program, tmp_path):
    flags = ("--task=memorization", "--features=4", "--steps_per_call=1", "--num_steps=1000000")
    out = program("train", *flags, "--max_minutes=0.05", f"--workdir={tmp_path}/run").stdout
    assert "out of time: saved step" in out


def test_a_diverging_run_names_the_step_and_the_last_good_checkpoint(program, tmp_path):
    flags = (
        "--task=memorization", "--model=elman", "--num_symbols=2", "--learning_rate=1e38", *QUICK,
        f"--workdir={tmp_path}/run",
    )  # fmt: skip
    ran = program("train", *flags, code=1)
    assert ran.stderr.startswith("error: the loss or the gradient is not finite at step")
    assert "the last good checkpoint: " in ran.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--task=memorization", "--no_such_flag=1"], "Unknown command line flag 'no_such_flag'"),
        (["--task=memorization", "stray"], "error: unexpected argument 'stray'"),
        (["--task=memorization", "--platform=tpu"], "error: platform is 'tpu', but JAX finds no"),
    ],
)
def test_a_wrong_command_line_is_one_line(args, message, program, tmp_path):
    ran = program("train", *args, f"--workdir={tmp_path}/run", code=1)
    assert message in ran.stderr
    assert not (tmp_path / "run").exists()


def test_evaluate_and_generate_say_what_is_missing(program, tmp_path):
    ran = program("evaluate", f"--workdir={tmp_path}", code=1)
    assert (
        ran.stderr == f"error: {tmp_path} holds no config.json; accepted is the folder of a run\n"
    )
    ran = program("generate", f"--workdir={tmp_path}", "--prompt=a", code=1)
    assert (
        ran.stderr == f"error: {tmp_path} holds no config.json; accepted is the folder of a run\n"
    )

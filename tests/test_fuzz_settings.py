"""Flags from strangers: taken, or refused in one line."""

import os
import sys
import types

import pytest
from absl import flags
from absl.testing import flagsaver
from hypothesis import example, given
from hypothesis import strategies as st

from tests.hostile import CHEAP, NUMBERS, SHAPES, VALUES, WORDS, make, refusal
from tlstm_jax import zoo
from tlstm_jax.runs import settings
from tlstm_jax.scripts import cli, run_flags, train

pytestmark = pytest.mark.usefixtures("no_hang")

CHOICES = st.sampled_from(("none", "layer", "before", "lstm", "f", "bfloat16", "scan", "adamw"))
RIGHT = {  # values of the right type
    int: NUMBERS | st.integers(),
    float: st.floats() | NUMBERS,
    bool: st.booleans(),
    str: CHOICES | WORDS,
    tuple[int, ...]: SHAPES,
}


@st.composite
def settings_of_a_run(draw):
    """A task, a model, and some of their settings, most of them of the right type."""
    task, model = draw(st.sampled_from(CHEAP)), draw(st.sampled_from(sorted(zoo.MODELS)))
    defaults = settings.task_settings(task) | settings.train_settings()
    kinds = {name: type(value) for name, value in defaults.items()} | zoo.setting_types(model)
    names = draw(st.lists(st.sampled_from(sorted(kinds)), max_size=3))
    values = {name: draw(RIGHT.get(kinds[name], VALUES) | VALUES) for name in names}
    return {"task": task, "model": model, **values}


@given(given_=settings_of_a_run(), preset=st.none() | st.sampled_from(sorted(settings.PRESETS)))
@example({"task": "addition", "features": 10**30}, None)
@example({"task": "addition", "model": "stacked_lstm", "num_layers": 2**31}, None)
@example({"task": "memorization", "model": "dilated", "num_layers": 99}, None)
@example({"task": "memorization", "alphabet_size": 2**31 - 1}, None)
@example({"task": "char_lm", "eval_batch_size": 2**20}, None)
def test_settings_of_any_value(given_, preset):
    with refusal("accepted", "need at least"):
        make(settings.resolve(given_, preset))


@given(given_=st.dictionaries(st.text(max_size=9) | st.just("task"), VALUES), preset=VALUES)
def test_settings_of_any_name(given_, preset):
    with refusal("accepted", "tasks are"):
        settings.resolve(given_, preset)
    with refusal("accepted", "need at least"):
        make(settings.resolve({"model": preset, **given_, "task": "addition"}, None))


def parse(*args):
    with flagsaver.flagsaver():
        flags.FLAGS.unparse_flags()
        flags.FLAGS(["train", *args])
        return run_flags.given_flags(train.RUN_FLAGS), train.PRESET.value


@given(
    args=st.lists(
        st.tuples(
            st.sampled_from((*train.RUN_FLAGS, "preset")),
            NUMBERS.map(str) | WORDS | st.text(max_size=9) | st.sampled_from(("lstm", "addition")),
        ),
        max_size=3,
    )
)
def test_flags_of_any_value(args):
    try:
        given_, preset = parse(*(f"--{name}={value}" for name, value in args))
    except flags.Error as error:
        assert any(name in str(error) for name, _ in args)
        return
    with refusal("accepted", "need at least"):
        make(settings.resolve({"task": "addition", **given_}, preset))


@given(shape=st.text("0123456789-x,() .e\0", max_size=12) | st.text(max_size=6))
@example("4x" * 9)
@example("9" * 5000)
def test_shapes_of_any_text(shape):
    try:
        given_, _ = parse(f"--tensor_shape={shape}")
    except flags.IllegalFlagValueError as error:
        assert "accepted are integers joined by , or x" in str(error)
        return
    assert all(isinstance(size, int) for size in given_["tensor_shape"])
    with refusal("accepted", "need at least"):
        make(settings.resolve({"task": "addition", **given_}, None))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "features",
            2**20 + 1,
            r"1048577; accepted are integers from 1 to 1,048,576$",
        ),
        ("features", True, "True; accepted are integers"),
        ("features", 3.0, "3.0; accepted are integers"),
        ("num_layers", 257, "257; accepted are integers from 1 to 256$"),
        ("learning_rate", float("nan"), "nan; accepted are finite numbers of float32$"),
        ("learning_rate", 1e39, r"1e\+39; accepted are finite"),
        ("learning_rate", "0.1", "'0.1'; accepted are finite"),
        ("bidirectional", 1, "1; accepted are true and false$"),
        ("patience", "no", "'no'; accepted are integers from .* or none$"),
        ("optimizer", None, "None; accepted are strings$"),
        (
            "tensor_shape",
            (2,) * 6,
            r"\(2, 2, 2, 2, 2, 2\); accepted are up to 5 integers, each from 1",
        ),
        ("tensor_shape", [[2]], r"\[\[2\]\]; accepted are up to 5 integers"),
    ],
)
def test_a_setting_of_the_wrong_kind_or_size(name, value, message):
    with pytest.raises(ValueError, match=f"^{name} is {message}"):
        settings.resolve({"task": "addition", name: value}, None)


HOSTILE = {
    "huge": (["--task=addition", f"--seed={10**30}"], "error: seed is 1000"),
    "float": (["--task=addition", "--features=nan"], "flag --features=nan: invalid literal"),
    "pipe": (["--task=char_lm", "--data_path={folder}/pipe"], "is not a file; accepted is a reada"),
    "flags": (["--flagfile={folder}/bytes"], "error: a --flagfile cannot be read"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_the_program_ends_with_one_line(kind, program, tmp_path):
    (tmp_path / "bytes").write_bytes(bytes(range(256)))
    os.mkfifo(tmp_path / "pipe")
    args, message = HOSTILE[kind]
    args = [arg.format(folder=tmp_path) for arg in args]
    ran = program("train", f"--workdir={tmp_path}/run", *args, code=1)
    assert message in ran.stderr
    lines = ran.stderr.splitlines()
    if lines[0].startswith("FATAL Flags parsing error:"):
        assert lines[1:] == ["Pass --helpshort or --helpfull to see help on flags."]
    else:
        assert len(lines) == 1 and lines[0].startswith("error: ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError("Unable to allocate"), r"^error: too large for this machine \(Unable to a"),
        (OverflowError(), r"^error: too large for this machine \(OverflowError\); accepted are"),
        (RuntimeError("RESOURCE_EXHAUSTED: 9\nbytes"), r"^error: too large .*HAUSTED: 9 bytes"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(error, message):
    with pytest.raises(SystemExit, match=message), cli.one_line_errors():
        raise error


def test_other_errors_of_the_runtime_come_through():
    with pytest.raises(RuntimeError, match="INTERNAL"), cli.one_line_errors():
        raise RuntimeError("INTERNAL")


def test_reads_that_end_late_are_not_told(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "__unraisablehook__", lambda it: told.append(str(it.exc_value)))

    async def read():
        pass

    coroutine = read()
    for message, of in (("Event loop is closed", None), ("read", coroutine), ("another", read)):
        error = RuntimeError(message)
        cli._hide_late_reads(types.SimpleNamespace(exc_value=error, object=of))
    coroutine.close()
    assert told == ["another"]

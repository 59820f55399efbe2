"""A user's own cell and task, module:name, wherever the zoo's names go; no file imports them."""

import json
import os
import pathlib
import re
import subprocess
import sys
import types

import pytest
from absl import flags

from tlstm_jax import runs, zoo
from tlstm_jax.cells.lstm import LSTM
from tlstm_jax.runs import settings
from tlstm_jax.runs.directory import RunDirectory
from tlstm_jax.scripts import run_flags, train
from tlstm_jax.scripts.sweep.plan import Sweep
from tlstm_jax.scripts.sweep.run import resuming
from tlstm_jax.sweeps.sweeping import sweep
from tlstm_jax.training.settings import TrainSettings

ROOT = pathlib.Path(__file__).parent.parent
OWN = ROOT / "tests" / "own"
WIDTH = zoo.own_settings("lstm")[0]
MGU, PARITY = "own_cells:MGU", "own_tasks:parity"
STEPS = ("num_steps", "eval_every", "checkpoint_every", "steps_per_call")


@pytest.fixture
def own(monkeypatch):
    """The modules of `OWN` can be imported, and are forgotten afterwards."""
    monkeypatch.syspath_prepend(OWN)
    yield
    for name in ("own_cells", "own_tasks"):
        sys.modules.pop(name, None)


def given(**more):
    return {"task": PARITY, "model": MGU, WIDTH: 4, **dict.fromkeys(STEPS, 2), **more}


def test_a_cell_in_python(own):
    network = zoo.make_network(
        MGU, input_size=3, output_size=2, tokens=True, **{WIDTH: 4}, taps=[5], num_layers=2
    )
    first, second = (layer.cell for layer in network.model.layers)
    assert first == second and (first.features, first.taps, first.dtype) == (4, (5,), None)
    narrow = zoo.make_model(MGU, dtype="bfloat16", zoneout_hidden=0.1)
    assert narrow.cell.cell.dtype == "bfloat16" and narrow.cell.hidden == 0.1
    assert zoo.model_settings(MGU)[WIDTH] == 100  # it has no default of its own
    assert zoo.setting_types(MGU)["leak"] == float | None


def test_a_function_that_makes_a_model(own):
    model = zoo.make_model("own_cells:two_layers", **{WIDTH: 3})
    assert (model.num_layers, model.cell.features, model.cell.opening_bias) == (2, 3, 2.0)


def test_a_sweep_in_python(own):
    task = settings.make_task(PARITY, {})
    train = TrainSettings(**dict.fromkeys(STEPS, 2))
    results = sweep(task, MGU, {WIDTH: [2], "opening_bias": [0.0, 1.0]}, settings=train)
    assert [r["opening_bias"] for r in results.points] == [0.0, 1.0]
    assert results.network.model.cell.opening_bias in (0.0, 1.0)


def test_its_settings_are_checked_by_their_annotations(own):
    chosen = settings.resolve(given(offset=-7, bits=2), None)
    assert chosen.model_settings["offset"] == -7 and chosen.task_settings["bits"] == 2
    for name, value, accepted in (
        ("offset", 2**31, "integers from -2,147,483,648 to 2,147,483,647"),
        ("noisy", 1, "true and false"),
        ("kind", 3, "strings"),
        ("leak", "x", "finite numbers of float32 or none"),
        ("bits", 0.5, "integers from"),
    ):
        with pytest.raises(ValueError, match=f"^{name} is {value!r}; accepted are {accepted}"):
            settings.resolve(given(**{name: value}), None)
    with pytest.raises(
        ValueError, match=r"^--teps is not a setting of task own_tasks:parity, model"
    ):
        settings.resolve(given(teps=1), None)


CANNOT = {
    "nowhere:X": "but there is no module nowhere; accepted are modules of this folder",
    "own_cells.inner:X": "but there is no module own_cells.inner; accepted are modules",
    "own_cells:MGV": "but module own_cells has no MGV; did you mean MGU? accepted are State, MGU",
    "own_cells:number": "which is of type int; accepted are classes and functions",
    "own_cells:NotFrozen": "accepted are frozen dataclasses",
    "own_cells:NoDataclass": "accepted are frozen dataclasses",
    "own_cells:unknown_annotation": "but its annotations cannot be read: name 'Nowhere' is not",
    "own_cells.py:MGU": "accepted is module:name, as in my_package.my_cells:MGU",
    ":": "accepted is module:name",
    "os:system": "which is of type builtin_function_or_method; accepted are classes",
}
SETTINGS = {
    "OfNoSetting": "inner of model own_cells:OfNoSetting is dict[str, int] | None; accepted are",
    "WithAnotherDefault": "depth of model own_cells:WithAnotherDefault has the default '3'; acc",
    "unannotated": "x of model own_cells:unannotated is without annotation; accepted are",
    "without_default": "depth of model own_cells:without_default has no default; accepted are",
    "anything": "model own_cells:anything takes **settings: int; accepted are named settings",
    "integer": "model own_cells:integer makes an object of type int without features, delay",
}


@pytest.mark.parametrize("name", [*CANNOT, *SETTINGS])
def test_what_cannot_be_a_model_is_told_in_one_line(name, own):
    found = CANNOT.get(name)
    message = SETTINGS[name] if found is None else f"model is {name!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}") as refused:
        zoo.make_model(name if found else f"own_cells:{name}")
    assert "\n" not in str(refused.value) and (found or "") in str(refused.value)


def test_what_cannot_be_a_task_is_told_in_one_line(own):
    with pytest.raises(
        ValueError, match=r"^length of task own_tasks:Parity has no default; accept"
    ):
        settings.resolve(given(task="own_tasks:Parity"), None)
    with pytest.raises(
        ValueError, match=r"^task own_cells:integer makes an object of type int with"
    ):
        settings.make_task("own_cells:integer", {})
    with pytest.raises(ValueError, match=r"^task is 'own_tasks:paroty', but .* mean parity\?"):
        settings.task_settings("own_tasks:paroty")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nothing_such", "but module bad needs nothing_such, which cannot be imported"),
        ("\n1 / 0", r"but importing bad fails with ZeroDivisionError: .*bad\.py, line 2\)"),
        ("x = (", "but importing bad fails with SyntaxError: .*never closed"),
    ],
)
def test_a_module_that_cannot_be_imported(source, message, monkeypatch, tmp_path):
    (tmp_path / "bad.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=f"^model is 'bad:X', {message}"):
        zoo.make_model("bad:X")


@pytest.mark.parametrize(
    ("argv", "model", "task"),
    [
        (["--model=a:B", "--task=c:d"], ["a:B"], ["c:d"]),
        (["-model", "a:B", "--task", "c:d"], ["a:B"], ["c:d"]),
        (["--model=lstm", "--task=addition"], [], []),
        (["--over=model=lstm,a:B", "--over", "learning_rate=log:1e-3:1"], ["a:B"], []),
        (["--", "--model=a:B"], [], []),
        (["--model"], [], []),
        (["--modelling=a:B", "--prompt=a:B"], [], []),
        (["--flagfile={folder}/flags"], ["a:B"], []),
        (["--flagfile={folder}/none"], [], []),
    ],
)
def test_the_command_line_is_looked_at_before_it_is_parsed(
    argv, model, task, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "flags").write_text("--model=a:B\n")
    argv = [arg.format(folder=tmp_path) for arg in argv]
    assert run_flags.own_names(argv) == {"model": model, "task": task}


def test_flags_of_its_fields(own):
    assert WIDTH in train.RUN_FLAGS  # which it shares
    kinds = {k: zoo.setting_types(MGU)[k] for k in zoo.own_settings(MGU)}
    new = run_flags._define_own_flags(f"model {MGU}", kinds, {"leak": "Some."}, set())
    try:
        assert new == ["opening_bias", "leak", "taps", "offset", "noisy", "kind"]
        parsed = {"leak": "0.5", "taps": "3x4", "offset": "-2", "noisy": "true"}
        parsed = {name: flags.FLAGS[name].parser.parse(text) for name, text in parsed.items()}
        assert [flags.FLAGS[name].help for name in new[:2]] == ["Of model own_cells:MGU.", "Some."]
        assert parsed == {"leak": 0.5, "taps": (3, 4), "offset": -2, "noisy": True}
    finally:
        for name in new:
            delattr(flags.FLAGS, name)


def test_a_field_that_is_called_as_another_flag(own):
    for name, message in {
        "CalledAsAProgramsFlag": "preset of model X is a flag of the program; accepted are other",
        "OfAnotherType": "reset of model X is of type int, and --reset is there already, of type s",
    }.items():
        kinds = zoo.setting_types(f"own_cells:{name}")
        last = {k: kinds[k] for k in zoo.own_settings(f"own_cells:{name}")[-1:]}
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            run_flags._define_own_flags("model X", last, {}, {"preset"})


@pytest.fixture
def run_of_own_code(own, tmp_path):
    """The folder of a run whose modules were forgotten since."""
    chosen = settings.resolve(given(), None)
    directory = RunDirectory(tmp_path / "run")
    directory.claim(chosen, settings.make_task(PARITY, chosen.task_settings))
    for name in ("own_cells", "own_tasks"):
        del sys.modules[name]
    return directory


NAMED = {"model": MGU, "task": PARITY}


def test_a_run_is_opened_where_its_code_is_named(run_of_own_code):
    run = runs.open(run_of_own_code, NAMED)
    assert run.task.length == 3 and type(run.network.model.cell).__name__ == "MGU"
    assert run_of_own_code.own_code() == NAMED
    with pytest.raises(
        ValueError, match=r"^model is own_cells:two_layers; accepted for this run is"
    ):
        settings.changed(run.settings, {"model": "own_cells:two_layers"})


@pytest.mark.parametrize("missing", [("model",), ("task",), ("model", "task")])
def test_what_a_file_says_alone_is_not_imported(missing, run_of_own_code, tmp_path):
    some = {part: name for part, name in NAMED.items() if part not in missing}
    chosen = settings.resolve({"task": "memorization"}, None)
    plan = {"points": [{}], "runs": [json.loads(run_of_own_code.config.read_text())]}
    (tmp_path / "sweep.json").write_text(json.dumps({**plan, "halving": None}))
    message = (
        r"\.json names code, .*; accepted is --task=own_tasks:parity --model=own_cells:MGU, if "
    )
    for read in (
        lambda: runs.open(run_of_own_code, some),
        lambda: run_of_own_code.read_config(some.values()),
        lambda: Sweep.read(tmp_path, some.values()),
    ):
        with pytest.raises(ValueError, match=message) as refused:
            read()
        assert all(f"{part} {NAMED[part]}" in str(refused.value) for part in missing)
    assert run_of_own_code.is_taken(chosen)
    with pytest.raises(ValueError, match=r"holds another run, whose task is own_tasks:parity"):
        run_of_own_code.claim(chosen, settings.make_task("memorization", {}))
    assert not {"own_cells", "own_tasks"} & set(sys.modules)


def test_flags_of_a_run_whose_code_is_not_named(run_of_own_code):
    with pytest.raises(
        ValueError, match=r"config\.json names code, .*; accepted is --task=own_tasks"
    ):
        run_flags.own_names([f"--workdir={run_of_own_code.path}", "--taps=3"])


def test_a_name_in_a_file_that_is_no_name(run_of_own_code):
    config = json.loads(run_of_own_code.config.read_text())
    for name in ("a b:c", "os:system('x')", "a:\n\x1b"):
        run_of_own_code.config.write_text(json.dumps({**config, "model": name}))
        with pytest.raises(
            ValueError, match=r"config\.json is damaged: model is .*; accepted is mod"
        ):
            run_of_own_code.read_config({name})


def test_a_run_of_the_zoo_needs_no_name(own, tmp_path):
    chosen = settings.resolve({"task": "memorization", "model": "lstm", WIDTH: 3}, None)
    directory = RunDirectory(tmp_path / "run")
    directory.claim(chosen, settings.make_task("memorization", chosen.task_settings))
    assert directory.own_code() == {} and directory.read_config() == chosen
    assert isinstance(runs.open(directory, {"model": "lstm"}).network.model.cell, LSTM)


@pytest.fixture(scope="module")
def command(environment):
    """tlstm-jax as it is installed, which does not look for modules in the current folder."""
    code = "from tlstm_jax.scripts.__main__ import main; main()"

    def run(*args, cwd=OWN, code_=0, **variables):
        ran = subprocess.run(
            [sys.executable, "-P", "-c", code, *map(str, args)],
            cwd=cwd,
            env={**environment, "PYTHONPATH": str(ROOT), **variables},
            capture_output=True,
            text=True,
        )
        assert ran.returncode == code_, ran.stdout + ran.stderr
        assert "Traceback" not in ran.stderr
        return ran

    return run


@pytest.mark.slow
def test_a_module_that_makes_arrays_makes_them_where_the_flag_says(command, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import jax.numpy as jnp\nfrom own_cells import MGU\nTABLE = jnp.arange(3)\n"
    )
    code = ("--model=mine:MGU", "--task=memorization", f"--{WIDTH}=4", "--num_steps=2")
    variables = {"PYTHONPATH": f"{ROOT}:{OWN}", "JAX_PLATFORMS": "cuda"}
    flags = (*code, f"--workdir={tmp_path / 'run'}")
    command("train", *flags, "--platform=cpu", cwd=tmp_path, **variables)
    refused = command("train", *flags, "--platform=gpu", cwd=tmp_path, code_=1, **variables)
    assert refused.stderr.startswith("error: platform is 'gpu', but JAX finds no such device here")


@pytest.mark.slow
def test_a_regression_on_tokens_has_no_answer_in_words(command, tmp_path):
    (tmp_path / "mine.py").write_text(
        """import dataclasses, jax, jax.numpy as jnp
from tlstm_jax.tasks.base import BaseTask
from tlstm_jax.tasks.scoring import squared_error
from tlstm_jax.typing import Batch

@dataclasses.dataclass(frozen=True)
class Means(BaseTask):
    batch_size: int = 4
    input_size, output_size, tokens = 3, 1, True
    metrics = staticmethod(squared_error)

    def draw(self, key, batch_size):
        tokens = jax.random.randint(key, (5, batch_size), 0, 3)
        wanted = jnp.cumsum(tokens.astype(jnp.float32), axis=0)[..., None]
        return Batch(tokens, wanted, mask=jnp.ones((5, batch_size), bool))
"""
    )
    code, run = "--task=mine:Means", f"--workdir={tmp_path / 'run'}"
    small = ("--model=lstm", f"--{WIDTH}=4", "--num_steps=2", "--eval_every=2")
    ran = command("train", code, *small, run, cwd=tmp_path)
    assert "accuracy" not in ran.stdout and "on test: loss" in ran.stdout
    refused = command("generate", code, run, "--prompt=01201", cwd=tmp_path, code_=1)
    assert refused.stdout == "" and refused.stderr.startswith(
        "error: task Means answers with numbers; accepted with a prompt are tasks that answer with"
    )
    command("visualize", code, run, cwd=tmp_path)
    command("visualize", code, run, "--prompt=012", cwd=tmp_path)


FLAGS = (
    f"--{WIDTH}=4",
    "--opening_bias=2",
    "--num_steps=4",
    "--eval_every=2",
    "--checkpoint_every=2",
)


@pytest.mark.slow
def test_every_program_takes_them(command, tmp_path):
    run, where = tmp_path / "run", f"--workdir={tmp_path / 'run'}"
    code = (f"--model={MGU}", "--task", PARITY)
    command("train", *code, "--bits=2", "--taps=3,4", "--nonoisy", *FLAGS, where)
    config = json.loads((run / "config.json").read_text())
    assert (config["model"], config["task"]) == (MGU, PARITY)
    assert (config["model_settings"]["taps"], config["task_settings"]["bits"]) == ([3, 4], 2)
    refused = command("train", where, code_=1)
    assert refused.stderr.startswith(
        f"error: {run}/config.json names code, task {PARITY} and model"
    )
    refused = command("train", where, *code, cwd=tmp_path, code_=1)
    assert "there is no module own_cells; accepted are modules of this folder, of" in refused.stderr
    longer = (where, *code, "--num_steps=6", "--taps=3,4")
    ran = command("train", *longer, cwd=tmp_path, PYTHONPATH=f"{ROOT}{os.pathsep}{OWN}")
    assert "resuming from step 4" in ran.stdout and "after 6 steps" in ran.stdout
    found = json.loads(command("evaluate", where, *code).stdout)
    assert found["task"] == "parity"
    longer = json.loads(command("evaluate", where, *code, "--bits=9").stdout)
    assert longer["sizes"] == {"bits": 9} and longer["loss"] != found["loss"]
    pictures = command("visualize", where, *code).stdout
    assert pictures == f"{run}/pictures/hidden.png\n"
    over = ("--over=model=lstm,own_cells:MGU", f"--workdir={tmp_path / 'sweep'}")
    ran = command("sweep", f"--task={PARITY}", *FLAGS[:1], *FLAGS[2:], *over)
    assert "2 members in 2 groups" in ran.stdout
    ran = command("sweep", over[1], *code)
    assert "best member" in ran.stdout
    assert "parameters" in command("footprint", *code, *FLAGS).stdout


def test_a_stopped_sweep_says_what_resumes_it(tmp_path):
    def told(*own):
        directories = [types.SimpleNamespace(own_code=lambda code=code: code) for code in own]
        return resuming(tmp_path, directories)

    assert told({}, {}).endswith(f"sweep --workdir={tmp_path}")
    assert told({"model": MGU}, {}).endswith(f"--workdir={tmp_path} --model={MGU}")
    for two in ({"model": MGU}, {"model": "a:B"}), ({}, {"model": MGU}):
        assert told(*two) == "the same command, which names the code of its models"


@pytest.mark.slow
def test_a_cell_of_ones_own_answers_a_prompt(command, tmp_path):
    where = f"--workdir={tmp_path / 'run'}"
    small = ("--task=memorization", "--num_symbols=2", "--alphabet_size=3")
    command("train", f"--model={MGU}", *small, *FLAGS, where)
    ran = command("generate", where, f"--model={MGU}", "--prompt=-ab---")
    assert ran.stdout.startswith("-ab---\n")


def test_help_has_its_fields(command):
    told = " ".join(command("train", f"--model={MGU}", "--help", code_=1).stdout.split())
    assert (
        "--opening_bias: What the gate's bias is at the start. (own_cells:MGU) Default: 1.0."
        in told
    )
    assert "--[no]noisy: (own_cells:MGU) Default: false." in told and "Default: 1,2." in told

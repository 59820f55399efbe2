"""What the README says runs."""

import pathlib
import re

import jax
import pytest

from tlstm_jax import zoo
from tlstm_jax.runs import settings
from tlstm_jax.scripts.readme import BEGIN, END, with_table
from tlstm_jax.tasks.catalogue import TASKS
from tlstm_jax.zoo.presets import PRESETS

README = (pathlib.Path(__file__).parent.parent / "README.md").read_text()


@pytest.mark.slow
def test_the_notebook_examples_run():
    first, of_sweeps = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    with jax.numpy_rank_promotion("allow"):
        exec(first, names)
    assert names["ys"].shape == (42, 15, 100)
    assert "num_steps=300" in of_sweeps
    exec(of_sweeps.replace("num_steps=300", "num_steps=10"), names)
    assert names["results"].curves.shape == (8, 1)


def test_every_preset_task_and_model_named_there_exists():
    for name in re.findall(r"--preset=(\S+?)[`\s]", README):
        assert name in PRESETS
    for name in re.findall(r"--task=(\w\S*)", README):
        assert name in TASKS or ":" in name
    for name in re.findall(r"--model=(\w\S*)", README):
        assert name in zoo.MODELS or ":" in name
    lacking = [name for name in [*TASKS, *zoo.MODELS] if f"`{name}`" not in README]
    assert not lacking, "the README has no row of these in its table of tasks, or of models"


def test_the_zoos_table_is_that_of_the_catalogue():
    up_to_date = with_table(README) == README
    assert up_to_date, "python -m scripts.readme writes it again"
    assert (
        README.count("| `lstm` | LSTM with forget gate | Gers, Schmidhuber and Cummins, *Learn")
        == 1
    )
    number = f"{len(zoo.MODELS)} models behind one interface"
    assert README.count(number) == 1
    assert with_table(README.replace(number, "9 models behind one interface")) == README
    with pytest.raises(ValueError, match=r"README\.md has 0 times '\.\. models behind"):
        with_table(README.replace(number, "models"))
    for wrong in (README.replace(END, ""), README + BEGIN):
        with pytest.raises(
            ValueError, match=r"README\.md lacks its markers; accepted is one <!-- models: "
        ):
            with_table(wrong)


def test_every_flag_named_there_exists():
    own = {
        "preset",
        "workdir",
        "list_presets",
        "list_models",
        "help",
        "split",
        "prompt",
        "temperature",
        "model",
        "over",
        "samples",
        "chunk",
        "halving",
        "name",
        "mesh",
        "target",
        "coordinator",
        "num_processes",
        "process_id",
    }
    for name in re.findall(r"--(\w+)", README):
        assert name in own | set(settings_names()), name


def settings_names():
    for kind in (*TASKS, *zoo.MODELS):
        known = settings.task_settings if kind in TASKS else zoo.model_settings
        yield from known(kind)
    yield from settings.train_settings()
    yield "task"

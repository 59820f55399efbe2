"""The tensorized LSTM's defaults are those to be used; measured presets name their settings."""

import json

import pytest

from tlstm_jax import zoo
from tlstm_jax.runs.settings import resolve
from tlstm_jax.scripts.bench import sweeps
from tlstm_jax.scripts.compare import members
from tlstm_jax.zoo.presets import PRESETS

RECORDED = {
    **{name: p.settings for name, p in PRESETS.items() if p.model == "tlstm"},
    "comparison": members.SETTINGS["tlstm"],
    **{f"sweep {s}": s for model, s in sweeps.MODELS if model == "tlstm"},
    **{
        f"trained {name}": json.loads((zoo.TRAINED / f"{name}.json").read_text())["model_settings"]
        for name in zoo.trained()
    },
}


def test_channel_normalization_is_the_default_where_models_are_named():
    assert zoo.model_settings("tlstm")["normalization"] == "channel"
    assert zoo.make_model("tlstm").cell.normalization == "channel"
    assert resolve({"task": "addition"}, None).model_settings["normalization"] == "channel"
    assert zoo.make_model("tlstm", normalization="none").cell.normalization is None


def test_the_forget_biases_are_spread_and_as_published_by_name():
    cell = zoo.make_model("tlstm").cell
    assert (cell.forget_bias, cell.forget_spread) == (1.0, 3.0)
    published = zoo.make_model("tlstm", init="paper", forget_bias=4.0).cell
    assert (published.forget_bias, published.forget_spread) == (4.0, 0.0)
    for name, preset in PRESETS.items():
        if preset.model == "tlstm" and preset.published != "none":
            assert preset.settings["init"] == "paper", name
    with pytest.raises(ValueError, match=r"^init is 'ours'; accepted are spread, paper$"):
        zoo.make_model("tlstm", init="ours")
    given = zoo.make_model("tlstm", init="paper", forget_spread=2.0).cell
    assert given.forget_spread == 2.0


@pytest.mark.parametrize("name", RECORDED)
def test_what_was_measured_does_not_depend_on_the_default(name):
    settings = (
        {"normalization"} if name.startswith(("sweep", "trained")) else {"normalization", "init"}
    )
    assert settings <= RECORDED[name].keys(), (
        f"the settings of {name}, of a tlstm, do not name {settings}"
    )

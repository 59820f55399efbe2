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


@pytest.mark.parametrize("name", RECORDED)
def test_what_was_measured_does_not_depend_on_the_default(name):
    named = "normalization" in RECORDED[name]
    assert named, f"the settings of {name}, of a tlstm, do not name its normalization"

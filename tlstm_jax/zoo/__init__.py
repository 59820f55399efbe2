"""Models by name, from plain settings; presets; trained weights.

>>> from tlstm_jax import zoo
>>> network = zoo.make_network("gru", input_size=10, output_size=5, tokens=False)
>>> zoo.count_parameters(network)
33905
"""

from tlstm_jax.zoo.catalogue import MODELS, entry
from tlstm_jax.zoo.entries import Entry
from tlstm_jax.zoo.make import (
    DTYPES,
    count_parameters,
    current_names,
    example_input_size,
    idle_settings,
    initial_settings,
    make_model,
    make_network,
    model_settings,
    own_settings,
    setting_descriptions,
    setting_types,
    traced_settings,
)
from tlstm_jax.zoo.presets import PRESETS, Preset
from tlstm_jax.zoo.released import TRAINED, card, load, trained

__all__ = [
    "DTYPES",
    "MODELS",
    "PRESETS",
    "TRAINED",
    "Entry",
    "Preset",
    "card",
    "count_parameters",
    "current_names",
    "entry",
    "example_input_size",
    "idle_settings",
    "initial_settings",
    "load",
    "make_model",
    "make_network",
    "model_settings",
    "own_settings",
    "setting_descriptions",
    "setting_types",
    "traced_settings",
    "trained",
]

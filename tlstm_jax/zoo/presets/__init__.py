"""Named settings of runs: the quickstart, the papers' configurations, and those of this project.

A preset's settings are those of its training, which several share, and its own; none is in both.
Models whose papers report no figure on these tasks have none. Models and sizes are as published;
optimizer and batch sizes are those of the tensorized LSTM's paper, not of each model's.
"""

from collections.abc import Mapping

from tlstm_jax.zoo.presets.addition import ADDITION
from tlstm_jax.zoo.presets.char_lm import CHAR_LM
from tlstm_jax.zoo.presets.images import IMAGES
from tlstm_jax.zoo.presets.long_memory import LONG_MEMORY
from tlstm_jax.zoo.presets.memorization import MEMORIZATION
from tlstm_jax.zoo.presets.preset import Preset

PRESETS: Mapping[str, Preset] = {
    **MEMORIZATION,
    **ADDITION,
    **LONG_MEMORY,
    **IMAGES,
    **CHAR_LM,
}

__all__ = ["PRESETS", "Preset"]

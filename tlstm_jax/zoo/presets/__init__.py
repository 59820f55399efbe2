"""Named settings of runs: the quickstart, the papers' configurations, and what this project measured.

A preset's settings are those of its training, which several share, and its own; no setting stands in both.
Models whose papers report no figure on these tasks have none. As published are the models and their sizes;
optimizer and batch sizes are those with which the tensorized LSTM is published, not each paper's.
"""

from collections.abc import Mapping

from tlstm_jax.zoo.presets.addition import ADDITION
from tlstm_jax.zoo.presets.char_lm import CHAR_LM
from tlstm_jax.zoo.presets.images import IMAGES
from tlstm_jax.zoo.presets.memorization import MEMORIZATION
from tlstm_jax.zoo.presets.preset import Preset

PRESETS: Mapping[str, Preset] = {**MEMORIZATION, **ADDITION, **IMAGES, **CHAR_LM}

__all__ = ["PRESETS", "Preset"]

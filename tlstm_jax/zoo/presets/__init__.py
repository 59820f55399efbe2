"""Named settings of runs: the quickstart, the paper's configurations, and what this project measured."""

from tlstm_jax.zoo.presets.named import PRESETS, Preset

__all__ = ["PRESETS", "Preset"]

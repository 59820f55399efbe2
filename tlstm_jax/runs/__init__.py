"""A run in a folder: its settings, files and results; without absl.

run = runs.open("runs/quickstart")
run.records[-1], run.results
run.network.apply(run.params, run.state, ..)
"""

from tlstm_jax.runs.directory import RunDirectory
from tlstm_jax.runs.opening import Run, open
from tlstm_jax.runs.settings import RunSettings, resolve

__all__ = ["Run", "RunDirectory", "RunSettings", "open", "resolve"]

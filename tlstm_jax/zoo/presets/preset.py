"""What a preset is, and what presets of several tasks share."""

import dataclasses
from collections.abc import Mapping
from typing import Any

PAPER = "He et al., NIPS 2017"
COMPARED = "as compared in He et al., NIPS 2017"
# An accuracy on the algorithmic tasks; the paper's way of counting is not known to this project.
UNKNOWN = "of symbols or of sequences: not known here"
NOT_RUN = "not run"
HARDWARE = "2 cores of an AMD EPYC"

# As published for addition and memorization: batches of 15, Adam at 1e-3, up to 5 M samples.
ALGORITHMIC = {
    "batch_size": 15,
    "learning_rate": 1e-3,
    "num_steps": 333_000,
    "eval_every": 200,
    "checkpoint_every": 2000,
    "steps_per_call": 50,
    "stop_at_target": True,
}


@dataclasses.dataclass(frozen=True)
class Preset:
    """Settings of a run, and what is known of its result.

    Attributes:
      task, model: names.
      settings: of task, model and training, where they differ from the defaults, each under the
        name of its flag.
      published: the figure in the paper that the configuration is from, cited; "none" if it is
        ours.
      measured: what this project measured, with hardware and minutes, or "not run".
    """

    task: str
    model: str
    settings: Mapping[str, Any]
    published: str = "none"
    measured: str = NOT_RUN

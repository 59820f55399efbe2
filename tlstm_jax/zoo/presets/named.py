"""Named settings: the quickstart, the paper's configurations, and what this project measured.

A preset is flat: the task's, the model's and the training's settings in one mapping, each under the
name of its command-line flag.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tlstm_jax.zoo.presets.others import ALGORITHMIC, IMAGES, TEXT, UNKNOWN, ZOO_PRESETS

PAPER = "He et al., NIPS 2017"
NOT_RUN = "not run"
HARDWARE = "2 cores of an AMD EPYC"


@dataclasses.dataclass(frozen=True)
class Preset:
    """Settings of a run, and what is known of its result.

    Attributes:
      task, model: names.
      settings: of task, model and training, where they differ from the defaults.
      published: the figure of the paper that the configuration is from, cited; "none" if it is ours.
      measured: what this project measured, with hardware and minutes, or "not run".
    """

    task: str
    model: str
    settings: Mapping[str, Any]
    published: str = "none"
    measured: str = NOT_RUN


def _paper_algorithmic(shape: tuple[int, ...], features: int) -> dict[str, Any]:
    """As published: batches of 15, Adam at 1e-3, up to 5 M samples, forget bias 1."""
    return ALGORITHMIC | {"tensor_shape": shape, "features": features, "normalization": "channel"}


def _paper_images(depth: int) -> dict[str, Any]:
    """As published: batches of 50, M = 100, forget bias 4, loss at the last step."""
    tensor = {"tensor_shape": (depth, depth), "features": 100, "normalization": "channel"}
    return IMAGES | tensor | {"forget_bias": 4.0}


def _paper_enwik8(depth: int, features: int) -> dict[str, Any]:
    """As published: 100 streams, segments of 50, state carried on, 50 epochs."""
    return TEXT | {
        "tensor_shape": (depth, depth),
        "features": features,
        "normalization": "channel",
    }


# Ours at the paper's sizes: a higher, decaying rate and a forget bias of 4 leave the plateau sooner.
_OURS = {
    "features": 100,
    "forget_bias": 4.0,
    "batch_size": 15,
    "learning_rate": 3e-3,
    "schedule": "cosine",
    "warmup_steps": 100,
    "num_steps": 8000,
    "eval_every": 200,
    "checkpoint_every": 400,
    "steps_per_call": 50,
    "stop_at_target": True,
}
_CN = {"normalization": "channel"}

_ADDITION = (
    _OURS
    | _CN
    | {
        "batch_size": 32,
        "eval_every": 250,
        "checkpoint_every": 1000,
        "stop_at_target": False,
    }
)
# The digits of a sum are learned from the first on, and width learns each from fewer samples.
_WIDE = {"tensor_shape": (4,), "features": 200, "learning_rate": 2.5e-3}

# 8x8 digits and small sets of 28x28 ones: about 123,000 parameters for every model.
_IMAGES = {
    "batch_size": 50,
    "forget_bias": 4.0,
    "learning_rate": 2e-3,
    "schedule": "cosine",
    "warmup_steps": 50,
    "num_steps": 2500,
    "eval_every": 100,
    "checkpoint_every": 500,
    "steps_per_call": 25,
}
_EQUAL = {
    "2d": ("tlstm", _CN | {"tensor_shape": (3,), "features": 100}),
    "3d": ("tlstm", _CN | {"tensor_shape": (3, 3), "features": 57}),
    "lstm": ("lstm", {"features": 173}),
    "stacked": ("stacked_lstm", {"features": 123, "num_layers": 3, "shared": True}),
}

_SMALL_MNIST = {
    kind: f"{accuracy} % on test after 3,600 digits; {minutes} minutes on one of {HARDWARE}"
    for kind, accuracy, minutes in (("2d", 79.8, 28), ("lstm", 64.6, 15))
}
_PDIGITS = {
    kind: f"{accuracy} % on test; {minutes} minutes on one of {HARDWARE}"
    for kind, accuracy, minutes in (
        ("2d", 90.0, 20),
        ("3d", 85.8, 31),
        ("lstm", 90.6, 4),
        ("stacked", 86.7, 9),
    )
}

# One hour on one core: about 0.9 M parameters for both.
_TEXT = {
    "batch_size": 32,
    "segment_length": 100,
    "learning_rate": 2e-3,
    "num_steps": 100_000,
    "eval_every": 500,
    "checkpoint_every": 500,
    "steps_per_call": 20,
}
# Python's help topics, of which it sees 3.8 million characters.
_TOPICS = _CN | {
    "tensor_shape": (3,),
    "features": 128,
    "dropout": 0.25,
    "learning_rate": 3e-3,
    "schedule": "cosine",
    "warmup_steps": 100,
    "num_steps": 1200,
    "eval_every": 100,
    "checkpoint_every": 500,
}

PRESETS: Mapping[str, Preset] = {
    "memorization/quickstart": Preset(
        "memorization",
        "tlstm",
        {
            "num_symbols": 5,
            "alphabet_size": 8,
            "features": 64,
            "tensor_shape": (3,),
            "normalization": "channel",
            "learning_rate": 3e-3,
            "num_steps": 1000,
            "eval_every": 50,
            "checkpoint_every": 250,
            "steps_per_call": 50,
        },
        measured=f"6,000 samples to 99 % of symbols, 100 % of symbols on test; 0.5 minutes on {HARDWARE}",
    ),
    "memorization/3d-l4": Preset(
        "memorization",
        "tlstm",
        _OURS | _CN | {"tensor_shape": (4, 4)},
        measured=f"33,000 samples to 99 % of symbols, 99.4 % of symbols on test; 35 minutes on {HARDWARE}",
    ),
    "memorization/2d-l4": Preset(
        "memorization",
        "tlstm",
        _OURS | _CN | {"tensor_shape": (4,)},
        measured="60,000 samples to 99 % of symbols, 99.4 % of symbols on test; "
        f"8 minutes on one of {HARDWARE}",
    ),
    "memorization/2d-l4-long": Preset(
        "memorization",
        "tlstm",
        _OURS | _CN | {"tensor_shape": (4,), "stop_at_target": False},
        measured="60,000 samples to 99 % of symbols, 99.9 % of symbols and 98.3 % of sequences on test; "
        f"10 minutes on {HARDWARE}, beside other work",
    ),
    "memorization/stacked-l4": Preset(
        "memorization",
        "stacked_lstm",
        _OURS | {"num_layers": 4, "shared": True},
        measured="99 % of symbols not reached in 120,000 samples, 96.2 % of symbols on test; "
        f"4 minutes on one of {HARDWARE}",
    ),
    "addition/3-digits": Preset(
        "addition",
        "tlstm",
        _ADDITION
        | {"num_digits": 3, "tensor_shape": (7,), "forget_bias": 1.0, "num_steps": 12_000},
        measured="192,000 samples to 99 % of symbols, 99.98 % of symbols on test; "
        f"18 minutes on one of {HARDWARE}",
    ),
    "addition/5-digits": Preset(
        "addition",
        "tlstm",
        _ADDITION | _WIDE | {"num_digits": 5, "num_steps": 20_000},
        measured="544,000 samples to 99 % of symbols, 99.2 % of symbols and 95.0 % of sequences on test; "
        f"60 minutes on one of {HARDWARE}",
    ),
    "addition/8-digits": Preset(
        "addition",
        "tlstm",
        _ADDITION | _WIDE | {"num_digits": 8, "num_steps": 13_000},
        measured="99 % of symbols not reached in 396,800 samples, 51.4 % of symbols on test; "
        f"60 minutes on one of {HARDWARE}",
    ),
    **{
        f"pdigits/{kind}": Preset(
            "pdigits", model, _IMAGES | settings, measured=_PDIGITS.get(kind, NOT_RUN)
        )
        for kind, (model, settings) in _EQUAL.items()
    },
    "digits/2d": Preset(
        "digits",
        "tlstm",
        _IMAGES | _EQUAL["2d"][1] | {"input_dropout": 0.1, "dropout": 0.3},
        measured=f"97.5 % on test; 8 minutes on {HARDWARE}, beside other work",
    ),
    **{
        f"mnist/small-{kind}": Preset(
            "mnist",
            model,
            _IMAGES | settings | {"num_steps": 500},
            measured=_SMALL_MNIST.get(kind, NOT_RUN),
        )
        for kind, (model, settings) in _EQUAL.items()
        if kind != "3d"
    },
    "char_lm/topics": Preset(
        "char_lm",
        "tlstm",
        _TEXT | _TOPICS,
        measured=f"1.640 bits per character on test; 7 minutes on {HARDWARE}, beside other work",
    ),
    "char_lm/hour-tlstm": Preset(
        "char_lm",
        "tlstm",
        _TEXT | _CN | {"tensor_shape": (3,), "features": 256},
        measured=f"2.104 bits per character on 6 MB of wiki text; 60 minutes on one of {HARDWARE}",
    ),
    "char_lm/hour-lstm": Preset(
        "char_lm",
        "lstm",
        _TEXT | {"features": 360},
        measured=f"2.068 bits per character on 6 MB of wiki text; 60 minutes on one of {HARDWARE}",
    ),
    "memorization/paper-3d-l7": Preset(
        "memorization",
        "tlstm",
        _paper_algorithmic((7, 7), 100),
        published=f"115 K samples to 99 % ({PAPER}; {UNKNOWN})",
    ),
    "memorization/paper-3d-l10": Preset(
        "memorization",
        "tlstm",
        _paper_algorithmic((10, 10), 100),
        published=f"54 K samples to 99 % ({PAPER}; {UNKNOWN})",
    ),
    "addition/paper-3d-l7": Preset(
        "addition",
        "tlstm",
        _paper_algorithmic((7, 7), 400),
        published=f"298 K samples to 99 % ({PAPER}; {UNKNOWN})",
    ),
    "addition/paper-3d-l10": Preset(
        "addition",
        "tlstm",
        _paper_algorithmic((10, 10), 400),
        published=f"317 K samples to 99 % ({PAPER}; {UNKNOWN})",
    ),
    "mnist/paper-3d-l3": Preset(
        "mnist", "tlstm", _paper_images(3), published=f"99.2 % test accuracy ({PAPER})"
    ),
    "mnist/paper-3d-l5": Preset(
        "mnist", "tlstm", _paper_images(5), published=f"99.0 % test accuracy ({PAPER})"
    ),
    "pmnist/paper-3d-l3": Preset(
        "pmnist", "tlstm", _paper_images(3), published=f"94.9 % test accuracy ({PAPER})"
    ),
    "pmnist/paper-3d-l5": Preset(
        "pmnist", "tlstm", _paper_images(5), published=f"95.7 % test accuracy ({PAPER})"
    ),
    "char_lm/paper-3d-l6": Preset(
        "char_lm",
        "tlstm",
        _paper_enwik8(6, 1200),
        published=f"1.264 bits per character on enwik8, 50.1 M parameters ({PAPER})",
    ),
    **{name: Preset(*preset) for name, preset in ZOO_PRESETS.items()},
}

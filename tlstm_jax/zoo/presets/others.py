"""Configurations of the zoo's models for the tasks on which a figure of theirs is published.

Models whose papers report none on these tasks have no preset here. Text models have a width with which they
have the published number of parameters (205 symbols). On images, the widths of Elman, sTANH and WaveNet are
ours. Optimizer and batch sizes are those with which the tensorized LSTM is published, not each paper's own.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

COMPARED = "as compared in He et al., NIPS 2017"
# An accuracy on the algorithmic tasks; the paper's way of counting is not known to this project.
UNKNOWN = "of symbols or of sequences: not known here"


class ZooPreset(NamedTuple):
    task: str
    model: str
    settings: Mapping[str, Any]
    published: str


IMAGES = {
    "batch_size": 50,
    "learning_rate": 1e-3,
    "num_steps": 100_000,
    "eval_every": 1000,
    "checkpoint_every": 1000,
    "steps_per_call": 20,
    "patience": 20,
}
TEXT = {
    "batch_size": 100,
    "segment_length": 50,
    "learning_rate": 1e-3,
    "num_steps": 900_000,
    "eval_every": 18_000,
    "checkpoint_every": 1000,
    "steps_per_call": 20,
}
ALGORITHMIC = {
    "batch_size": 15,
    "learning_rate": 1e-3,
    "num_steps": 333_000,
    "eval_every": 200,
    "checkpoint_every": 2000,
    "steps_per_call": 50,
    "stop_at_target": True,
}

# name -> (model, settings, of permuted MNIST alone, % on MNIST, % on permuted MNIST)
_ON_IMAGES: Mapping[str, tuple[str, Mapping[str, Any], Mapping[str, Any], float, float]] = {
    "elman": ("elman", {"features": 100}, {}, 35.0, 35.0),
    "lstm": ("lstm", {"features": 128}, {}, 98.2, 88.0),
    "irnn": ("irnn", {"features": 100}, {}, 97.0, 82.0),
    "urnn": ("urnn", {"features": 1024}, {}, 95.1, 91.4),
    "full-urnn": ("full_urnn", {"features": 1024}, {}, 96.9, 94.1),
    "skip-rnn": ("skip_rnn", {"features": 64, "skip": 21}, {"skip": 11}, 98.1, 94.0),
    "bn-lstm": (
        "bn_lstm",
        {"features": 100, "max_steps": 784, "identity": True},
        {},
        99.0,
        95.4,
    ),
    "dilated-gru": (
        "dilated",
        {"features": 50, "cell": "gru", "num_layers": 9, "reset": "before"},
        {},
        99.2,
        94.6,
    ),
    "wavenet": (
        "wavenet",
        {"features": 50, "dilations": tuple(2**n for n in range(9))},
        {},
        98.3,
        96.7,
    ),
}

# The boundaries' slope is 1 + 0.04 an epoch, up to 5: 100 epochs, each of 90 million characters.
HM_ANNEAL_STEPS = 100 * 90_000_000 // (TEXT["batch_size"] * TEXT["segment_length"])

# name -> (model, settings, bits per character on enwik8, parameters in millions or None)
_ON_TEXT: Mapping[str, tuple[str, Mapping[str, Any], float, float | None]] = {
    "layer-norm-lstm": ("layer_norm_lstm", {"features": 1800}, 1.402, None),
    "mi-lstm": ("mi_lstm", {"features": 1940}, 1.44, 17),
    "mlstm": ("mlstm", {"features": 1880}, 1.42, 20),
    "hyper-lstm": (
        "hyper_lstm",
        {"features": 2210, "hyper_features": 256, "embedding_features": 64},
        1.34,
        26.5,
    ),
    # 1.32, as compared there, is with layer normalization.
    "hm-lstm": ("hm_lstm", {"features": 1050, "anneal_steps": HM_ANNEAL_STEPS}, 1.34, 35),
    "rhn": ("rhn", {"features": 1500, "depth": 10, "transform_bias": -4.0}, 1.27, 46),
    "fs-lstm-27m": (
        "fs_lstm",
        {
            "features": 730,
            "slow_features": 1500,
            "num_fast": 4,
            "normalization": "gates",
            "zoneout_hidden": 0.05,
            "zoneout_memory": 0.3,
        },
        1.277,
        27,
    ),
    "fs-lstm-47m": (
        "fs_lstm",
        {
            "features": 1190,
            "slow_features": 1500,
            "num_fast": 4,
            "normalization": "gates",
            "zoneout_hidden": 0.05,
            "zoneout_memory": 0.3,
        },
        1.245,
        47,
    ),
}

_ALGORITHMIC: Mapping[str, tuple[str, str, Mapping[str, Any], str]] = {
    "paper-grid-lstm": (
        "addition",
        "grid_lstm",
        {"features": 400, "num_layers": 18, "tied": True},
        f"550 K samples to 99 %, {UNKNOWN}",
    ),
    "paper-grid-lstm-43": (
        "memorization",
        "grid_lstm",
        {"features": 100, "num_layers": 43, "tied": True},
        f"150 K samples to 99 %, {UNKNOWN}",
    ),
    "paper-stacked-lstm": (
        "addition",
        "stacked_lstm",
        {"features": 400, "num_layers": 18, "shared": True},
        "51 % of sequences after 5 M samples",
    ),
    "paper-stacked-lstm-43": (
        "memorization",
        "stacked_lstm",
        {"features": 100, "num_layers": 43, "shared": True},
        f"more than 50 % after 900 K samples, {UNKNOWN}",
    ),
}


def _images() -> dict[str, ZooPreset]:
    presets = {}
    for name, (model, settings, of_permuted, plain, permuted) in _ON_IMAGES.items():
        for task, more, figure in (("mnist", {}, plain), ("pmnist", of_permuted, permuted)):
            published = f"{figure} % test accuracy ({COMPARED})"
            presets[f"{task}/paper-{name}"] = ZooPreset(
                task, model, IMAGES | settings | more, published
            )
    return presets


def _texts() -> dict[str, ZooPreset]:
    presets = {}
    for name, (model, settings, figure, millions) in _ON_TEXT.items():
        size = f", {millions:g} M parameters" if millions else ""
        published = f"{figure} bits per character on enwik8{size} ({COMPARED})"
        presets[f"char_lm/paper-{name}"] = ZooPreset("char_lm", model, TEXT | settings, published)
    return presets


ZOO_PRESETS: Mapping[str, ZooPreset] = {
    **{
        f"{task}/{name}": ZooPreset(
            task, model, ALGORITHMIC | settings, f"{published} ({COMPARED})"
        )
        for name, (task, model, settings, published) in _ALGORITHMIC.items()
    },
    **_images(),
    **_texts(),
}

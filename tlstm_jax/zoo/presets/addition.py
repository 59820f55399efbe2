"""Presets of addition.

The digits of a sum are learned one by one from the first, each from fewer samples in wider models.
"""

from collections.abc import Mapping

from tlstm_jax.zoo.presets.preset import ALGORITHMIC, COMPARED, HARDWARE, PAPER, UNKNOWN, Preset

_OURS = {
    "batch_size": 32,
    "schedule": "cosine",
    "warmup_steps": 100,
    "eval_every": 250,
    "checkpoint_every": 1000,
    "steps_per_call": 50,
    "stop_at_target": False,
}

ADDITION: Mapping[str, Preset] = {
    "addition/3-digits": Preset(
        task="addition",
        model="tlstm",
        settings=_OURS
        | {
            "num_digits": 3,
            "features": 100,
            "tensor_shape": (7,),
            "forget_bias": 1.0,
            "learning_rate": 3e-3,
            "num_steps": 12_000,
            "normalization": "channel",
            "init": "paper",
        },
        measured=(
            "192,000 samples to 99 % of symbols, 99.98 % of symbols on test; "
            f"18 minutes on one of {HARDWARE}"
        ),
    ),
    "addition/5-digits": Preset(
        task="addition",
        model="tlstm",
        settings=_OURS
        | {
            "num_digits": 5,
            "features": 200,
            "tensor_shape": (4,),
            "forget_bias": 4.0,
            "learning_rate": 2.5e-3,
            "num_steps": 20_000,
            "normalization": "channel",
            "init": "paper",
        },
        measured=(
            "544,000 samples to 99 % of symbols, 99.2 % of symbols and 95.0 % of sequences on "
            f"test; 60 minutes on one of {HARDWARE}"
        ),
    ),
    "addition/8-digits": Preset(
        task="addition",
        model="tlstm",
        settings=_OURS
        | {
            "num_digits": 8,
            "features": 200,
            "tensor_shape": (4,),
            "forget_bias": 4.0,
            "learning_rate": 2.5e-3,
            "num_steps": 13_000,
            "normalization": "channel",
            "init": "paper",
        },
        measured=(
            "99 % of symbols not reached in 396,800 samples, 51.4 % of symbols on test; "
            f"60 minutes on one of {HARDWARE}"
        ),
    ),
    "addition/paper-3d-l7": Preset(
        task="addition",
        model="tlstm",
        settings=ALGORITHMIC
        | {"features": 400, "tensor_shape": (7, 7), "normalization": "channel", "init": "paper"},
        published=f"298 K samples to 99 % ({PAPER}; {UNKNOWN})",
    ),
    "addition/paper-3d-l10": Preset(
        task="addition",
        model="tlstm",
        settings=ALGORITHMIC
        | {"features": 400, "tensor_shape": (10, 10), "normalization": "channel", "init": "paper"},
        published=f"317 K samples to 99 % ({PAPER}; {UNKNOWN})",
    ),
    "addition/paper-grid-lstm": Preset(
        task="addition",
        model="grid_lstm",
        settings=ALGORITHMIC | {"features": 400, "num_layers": 18, "tied": True},
        published=f"550 K samples to 99 %, {UNKNOWN} ({COMPARED})",
    ),
    "addition/paper-stacked-lstm": Preset(
        task="addition",
        model="stacked_lstm",
        settings=ALGORITHMIC | {"features": 400, "num_layers": 18, "shared": True},
        published=f"51 % of sequences after 5 M samples ({COMPARED})",
    ),
}

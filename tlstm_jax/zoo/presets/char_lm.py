"""Presets of texts.

The published ones are for enwik8 (205 symbols), with the width that gives the published number of
parameters.
"""

from collections.abc import Mapping

from tlstm_jax.zoo.presets.preset import COMPARED, HARDWARE, PAPER, Preset

# 100 streams, segments of 50, state carried on, 50 epochs.
_PUBLISHED = {
    "batch_size": 100,
    "segment_length": 50,
    "learning_rate": 1e-3,
    "num_steps": 900_000,
    "eval_every": 18_000,
    "checkpoint_every": 1000,
    "steps_per_call": 20,
}
# Of an hour on one core, with about 0.9 M parameters; of Python's help topics, 3.8 million
# characters.
_OURS = {
    "batch_size": 32,
    "segment_length": 100,
    "checkpoint_every": 500,
    "steps_per_call": 20,
}
# The boundaries' slope is 1 + 0.04 an epoch, up to 5: 100 epochs, each of 90 million characters.
_ANNEAL_STEPS = 100 * 90_000_000 // (100 * 50)

CHAR_LM: Mapping[str, Preset] = {
    "char_lm/topics": Preset(
        task="char_lm",
        model="tlstm",
        settings=_OURS
        | {
            "features": 128,
            "tensor_shape": (3,),
            "learning_rate": 3e-3,
            "num_steps": 1200,
            "eval_every": 100,
            "normalization": "channel",
            "init": "paper",
            "dropout": 0.25,
            "schedule": "cosine",
            "warmup_steps": 100,
        },
        measured=f"1.640 bits per character on test; 7 minutes on {HARDWARE}, beside other work",
    ),
    "char_lm/hour-tlstm": Preset(
        task="char_lm",
        model="tlstm",
        settings=_OURS
        | {
            "features": 256,
            "tensor_shape": (3,),
            "learning_rate": 2e-3,
            "num_steps": 100_000,
            "eval_every": 500,
            "normalization": "channel",
            "init": "paper",
        },
        measured=f"2.104 bits per character on 6 MB of wiki text; 60 minutes on one of {HARDWARE}",
    ),
    "char_lm/hour-lstm": Preset(
        task="char_lm",
        model="lstm",
        settings=_OURS
        | {"features": 360, "learning_rate": 2e-3, "num_steps": 100_000, "eval_every": 500},
        measured=f"2.068 bits per character on 6 MB of wiki text; 60 minutes on one of {HARDWARE}",
    ),
    "char_lm/paper-3d-l6": Preset(
        task="char_lm",
        model="tlstm",
        settings=_PUBLISHED
        | {"features": 1200, "tensor_shape": (6, 6), "normalization": "channel", "init": "paper"},
        published=f"1.264 bits per character on enwik8, 50.1 M parameters ({PAPER})",
    ),
    "char_lm/paper-layer-norm-lstm": Preset(
        task="char_lm",
        model="layer_norm_lstm",
        settings=_PUBLISHED | {"features": 1800},
        published=f"1.402 bits per character on enwik8 ({COMPARED})",
    ),
    "char_lm/paper-mi-lstm": Preset(
        task="char_lm",
        model="mi_lstm",
        settings=_PUBLISHED | {"features": 1940},
        published=f"1.44 bits per character on enwik8, 17 M parameters ({COMPARED})",
    ),
    "char_lm/paper-mlstm": Preset(
        task="char_lm",
        model="mlstm",
        settings=_PUBLISHED | {"features": 1880},
        published=f"1.42 bits per character on enwik8, 20 M parameters ({COMPARED})",
    ),
    "char_lm/paper-hyper-lstm": Preset(
        task="char_lm",
        model="hyper_lstm",
        settings=_PUBLISHED | {"features": 2210, "hyper_features": 256, "embedding_features": 64},
        published=f"1.34 bits per character on enwik8, 26.5 M parameters ({COMPARED})",
    ),
    "char_lm/paper-hm-lstm": Preset(
        task="char_lm",
        model="hm_lstm",
        settings=_PUBLISHED | {"features": 1050, "anneal_steps": _ANNEAL_STEPS},
        published=f"1.34 bits per character on enwik8, 35 M parameters ({COMPARED})",
    ),
    "char_lm/paper-rhn": Preset(
        task="char_lm",
        model="rhn",
        settings=_PUBLISHED | {"features": 1500, "depth": 10, "transform_bias": -4.0},
        published=f"1.27 bits per character on enwik8, 46 M parameters ({COMPARED})",
    ),
    "char_lm/paper-fs-lstm-27m": Preset(
        task="char_lm",
        model="fs_lstm",
        settings=_PUBLISHED
        | {
            "features": 730,
            "slow_features": 1500,
            "num_fast": 4,
            "normalization": "gates",
            "zoneout_hidden": 0.05,
            "zoneout_memory": 0.3,
        },
        published=f"1.277 bits per character on enwik8, 27 M parameters ({COMPARED})",
    ),
    "char_lm/paper-fs-lstm-47m": Preset(
        task="char_lm",
        model="fs_lstm",
        settings=_PUBLISHED
        | {
            "features": 1190,
            "slow_features": 1500,
            "num_fast": 4,
            "normalization": "gates",
            "zoneout_hidden": 0.05,
            "zoneout_memory": 0.3,
        },
        published=f"1.245 bits per character on enwik8, 47 M parameters ({COMPARED})",
    ),
}

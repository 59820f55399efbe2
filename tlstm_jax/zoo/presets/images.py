"""Presets of images read pixel by pixel.

The widths of Elman, sTANH and WaveNet are ours. Of ours on 8x8 digits and on small sets of 28x28
ones, every model has about 123,000 parameters.
"""

from collections.abc import Mapping

from tlstm_jax.zoo.presets.preset import COMPARED, HARDWARE, PAPER, Preset

# With batches of 50, as published; the loss is at the last step.
_PUBLISHED = {
    "batch_size": 50,
    "learning_rate": 1e-3,
    "num_steps": 100_000,
    "eval_every": 1000,
    "checkpoint_every": 1000,
    "steps_per_call": 20,
    "patience": 20,
}
_PUBLISHED_TLSTM = _PUBLISHED | {
    "features": 100,
    "normalization": "channel",
    "forget_bias": 4.0,
    "init": "paper",
}
_OURS = {
    "batch_size": 50,
    "learning_rate": 2e-3,
    "schedule": "cosine",
    "warmup_steps": 50,
    "eval_every": 100,
    "checkpoint_every": 500,
    "steps_per_call": 25,
}

IMAGES: Mapping[str, Preset] = {
    "pdigits/2d": Preset(
        task="pdigits",
        model="tlstm",
        settings=_OURS
        | {
            "features": 100,
            "tensor_shape": (3,),
            "forget_bias": 4.0,
            "num_steps": 2500,
            "normalization": "channel",
            "init": "paper",
        },
        measured=f"90.0 % on test; 20 minutes on one of {HARDWARE}",
    ),
    "pdigits/3d": Preset(
        task="pdigits",
        model="tlstm",
        settings=_OURS
        | {
            "features": 57,
            "tensor_shape": (3, 3),
            "forget_bias": 4.0,
            "num_steps": 2500,
            "normalization": "channel",
            "init": "paper",
        },
        measured=f"85.8 % on test; 31 minutes on one of {HARDWARE}",
    ),
    "pdigits/lstm": Preset(
        task="pdigits",
        model="lstm",
        settings=_OURS | {"features": 173, "forget_bias": 4.0, "num_steps": 2500},
        measured=f"90.6 % on test; 4 minutes on one of {HARDWARE}",
    ),
    "pdigits/stacked": Preset(
        task="pdigits",
        model="stacked_lstm",
        settings=_OURS
        | {"features": 123, "forget_bias": 4.0, "num_steps": 2500, "num_layers": 3, "shared": True},
        measured=f"86.7 % on test; 9 minutes on one of {HARDWARE}",
    ),
    "digits/2d": Preset(
        task="digits",
        model="tlstm",
        settings=_OURS
        | {
            "features": 100,
            "tensor_shape": (3,),
            "forget_bias": 4.0,
            "num_steps": 2500,
            "normalization": "channel",
            "init": "paper",
            "input_dropout": 0.1,
            "dropout": 0.3,
        },
        measured=f"97.5 % on test; 8 minutes on {HARDWARE}, beside other work",
    ),
    "mnist/small-2d": Preset(
        task="mnist",
        model="tlstm",
        settings=_OURS
        | {
            "features": 100,
            "tensor_shape": (3,),
            "forget_bias": 4.0,
            "num_steps": 500,
            "normalization": "channel",
            "init": "paper",
        },
        measured=f"79.8 % on test after 3,600 digits; 28 minutes on one of {HARDWARE}",
    ),
    "mnist/small-lstm": Preset(
        task="mnist",
        model="lstm",
        settings=_OURS | {"features": 173, "forget_bias": 4.0, "num_steps": 500},
        measured=f"64.6 % on test after 3,600 digits; 15 minutes on one of {HARDWARE}",
    ),
    "mnist/small-stacked": Preset(
        task="mnist",
        model="stacked_lstm",
        settings=_OURS
        | {"features": 123, "forget_bias": 4.0, "num_steps": 500, "num_layers": 3, "shared": True},
    ),
    "mnist/paper-3d-l3": Preset(
        task="mnist",
        model="tlstm",
        settings=_PUBLISHED_TLSTM | {"tensor_shape": (3, 3)},
        published=f"99.2 % test accuracy ({PAPER})",
    ),
    "mnist/paper-3d-l5": Preset(
        task="mnist",
        model="tlstm",
        settings=_PUBLISHED_TLSTM | {"tensor_shape": (5, 5)},
        published=f"99.0 % test accuracy ({PAPER})",
    ),
    "pmnist/paper-3d-l3": Preset(
        task="pmnist",
        model="tlstm",
        settings=_PUBLISHED_TLSTM | {"tensor_shape": (3, 3)},
        published=f"94.9 % test accuracy ({PAPER})",
    ),
    "pmnist/paper-3d-l5": Preset(
        task="pmnist",
        model="tlstm",
        settings=_PUBLISHED_TLSTM | {"tensor_shape": (5, 5)},
        published=f"95.7 % test accuracy ({PAPER})",
    ),
    "mnist/paper-elman": Preset(
        task="mnist",
        model="elman",
        settings=_PUBLISHED | {"features": 100},
        published=f"35.0 % test accuracy ({COMPARED})",
    ),
    "pmnist/paper-elman": Preset(
        task="pmnist",
        model="elman",
        settings=_PUBLISHED | {"features": 100},
        published=f"35.0 % test accuracy ({COMPARED})",
    ),
    "mnist/paper-lstm": Preset(
        task="mnist",
        model="lstm",
        settings=_PUBLISHED | {"features": 128},
        published=f"98.2 % test accuracy ({COMPARED})",
    ),
    "pmnist/paper-lstm": Preset(
        task="pmnist",
        model="lstm",
        settings=_PUBLISHED | {"features": 128},
        published=f"88.0 % test accuracy ({COMPARED})",
    ),
    "mnist/paper-irnn": Preset(
        task="mnist",
        model="irnn",
        settings=_PUBLISHED | {"features": 100},
        published=f"97.0 % test accuracy ({COMPARED})",
    ),
    "pmnist/paper-irnn": Preset(
        task="pmnist",
        model="irnn",
        settings=_PUBLISHED | {"features": 100},
        published=f"82.0 % test accuracy ({COMPARED})",
    ),
    "mnist/paper-urnn": Preset(
        task="mnist",
        model="urnn",
        settings=_PUBLISHED | {"features": 1024},
        published=f"95.1 % test accuracy ({COMPARED})",
    ),
    "pmnist/paper-urnn": Preset(
        task="pmnist",
        model="urnn",
        settings=_PUBLISHED | {"features": 1024},
        published=f"91.4 % test accuracy ({COMPARED})",
    ),
    "mnist/paper-full-urnn": Preset(
        task="mnist",
        model="full_urnn",
        settings=_PUBLISHED | {"features": 1024},
        published=f"96.9 % test accuracy ({COMPARED})",
    ),
    "pmnist/paper-full-urnn": Preset(
        task="pmnist",
        model="full_urnn",
        settings=_PUBLISHED | {"features": 1024},
        published=f"94.1 % test accuracy ({COMPARED})",
    ),
    "mnist/paper-skip-rnn": Preset(
        task="mnist",
        model="skip_rnn",
        settings=_PUBLISHED | {"features": 64, "skip": 21},
        published=f"98.1 % test accuracy ({COMPARED})",
    ),
    "pmnist/paper-skip-rnn": Preset(
        task="pmnist",
        model="skip_rnn",
        settings=_PUBLISHED | {"features": 64, "skip": 11},
        published=f"94.0 % test accuracy ({COMPARED})",
    ),
    "mnist/paper-bn-lstm": Preset(
        task="mnist",
        model="bn_lstm",
        settings=_PUBLISHED | {"features": 100, "max_steps": 784, "identity": True},
        published=f"99.0 % test accuracy ({COMPARED})",
    ),
    "pmnist/paper-bn-lstm": Preset(
        task="pmnist",
        model="bn_lstm",
        settings=_PUBLISHED | {"features": 100, "max_steps": 784, "identity": True},
        published=f"95.4 % test accuracy ({COMPARED})",
    ),
    "mnist/paper-dilated-gru": Preset(
        task="mnist",
        model="dilated",
        settings=_PUBLISHED | {"features": 50, "cell": "gru", "num_layers": 9, "reset": "before"},
        published=f"99.2 % test accuracy ({COMPARED})",
    ),
    "pmnist/paper-dilated-gru": Preset(
        task="pmnist",
        model="dilated",
        settings=_PUBLISHED | {"features": 50, "cell": "gru", "num_layers": 9, "reset": "before"},
        published=f"94.6 % test accuracy ({COMPARED})",
    ),
    "mnist/paper-wavenet": Preset(
        task="mnist",
        model="wavenet",
        settings=_PUBLISHED | {"features": 50, "dilations": (1, 2, 4, 8, 16, 32, 64, 128, 256)},
        published=f"98.3 % test accuracy ({COMPARED})",
    ),
    "pmnist/paper-wavenet": Preset(
        task="pmnist",
        model="wavenet",
        settings=_PUBLISHED | {"features": 50, "dilations": (1, 2, 4, 8, 16, 32, 64, 128, 256)},
        published=f"96.7 % test accuracy ({COMPARED})",
    ),
}

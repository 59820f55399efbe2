"""How the tensorized LSTM should start: each candidate with several rates and seeds, on six tasks."""

import functools
from collections.abc import Mapping
from typing import Any

from tlstm_jax.scripts.experiments import flow
from tlstm_jax.scripts.experiments.experiment import Experiment, Flags
from tlstm_jax.scripts.experiments.page import Drawn, Page
from tlstm_jax.scripts.experiments.started import StartedLSTM, StartedTensorizedLSTM


def _flow() -> Any:
    """Gradients by the memory of untrained networks, over as many steps as MNIST has pixels."""
    tensor = functools.partial(StartedTensorizedLSTM, 100, normalization="channel")
    cells = {
        "LSTM, forget bias 1": StartedLSTM(100),
        "LSTM, chrono 784": StartedLSTM(100, chrono=784.0),
        "tLSTM, forget bias 1": tensor(),
        "tLSTM, forget bias 4": tensor(forget_bias=4.0),
        "tLSTM, forget bias -1": tensor(forget_bias=-1.0),
        "tLSTM, forget biases -2 to 4": tensor(forget_spread=3.0),
    }
    return flow.plot(cells, steps=784)


PAGE = Page(
    "starts",
    "starts",
    "How the tensorized LSTM should start",
    """
makes this page and its pictures from its runs, with settings in `scripts/experiments/starting.py`;
`--data_dir` says where MNIST is. What the page is made of is kept beside it, without the weights,
in `starts/runs.tar.xz`: unpacked, `--workdir=docs/starts/runs --minutes=0` makes it again.

Every model has about 20,000 parameters. It is trained from three seeds with the learning rates 0.001
and 0.003, all of them as one, and has the rate whose mean on the validation split is better. A figure
is that of the best checkpoint on the validation split, since it is there to choose by: the mean of the
seeds, and in brackets each. "Plain" is a forget bias of 1 and an epsilon of 1e-5, "calm" -1 and 0.01.

What comes of it: how long memories last at the start decides, and each task wants it otherwise. A
forget bias of 4, which copying needs, is the worst for images, and -1, which is the best for images,
does not learn to copy or to memorize. A tensor whose biases are spread from -2 to 4 memorizes as well as
any and learns the others, neither best: it is the default, and `--init=paper` with a forget bias is better
where the task is known. Nothing else that was tried with a forget bias of 1 (the kernel's start, the
own tap's bias, the normalization and its scale, no memory convolution, the input's scale, clipping,
dropout, depth) helps permuted digits as much as -1 does, and with -1 none of it helps further.
""",
    (
        Drawn(
            "gradients",
            "How far back the last output reaches",
            """
The norm of the gradient of the last output by the memory after every step, before any training, 784
inputs from N(0, 1), M = 100, L = 3: above, the mean over locations; below, each location of the last
of these models. `inspection.state_gradients` measures it.
""",
            _flow,
        ),
    ),
)
SEEDS = (0, 1, 2)
STARTED = "tlstm_jax.scripts.experiments.started:StartedTensorizedLSTM"
STARTED_LSTM = "tlstm_jax.scripts.experiments.started:StartedLSTM"
WIDTH = {1: 40, 2: 23}  # of as many parameters, by axes of the tensor


def _tlstm(*shape: int, **settings: Any) -> Flags:
    shape = shape or (3,)
    flags = {"model": "tlstm", "normalization": "channel", "features": WIDTH[len(shape)]}
    flags |= {"init": "paper"}
    return flags | {"tensor_shape": ",".join(map(str, shape))} | settings


def _started(*shape: int, **settings: Any) -> Flags:
    """Of what only the comparison has."""
    flags = _tlstm(*shape, **settings) | {"model": STARTED}
    return {name: value for name, value in flags.items() if name != "init"}


PLAIN = {"forget_bias": 1.0, "epsilon": 1e-5}
CALM = {"forget_bias": -1.0, "epsilon": 1e-2}


def _gates(biases: Mapping[float, tuple[float, ...]]) -> dict[str, Flags]:
    """Of each epsilon its forget biases."""
    return {
        f"forget bias {bias:g}, epsilon {epsilon:g}": _tlstm(forget_bias=bias, epsilon=epsilon)
        for epsilon, values in biases.items()
        for bias in values
    }


GATES = _gates({1e-5: (1.0, 4.0, 0.0, -1.0, -2.0), 1e-2: (1.0, -1.0)})
LSTMS: Mapping[str, Flags] = {
    f"LSTM, forget bias {bias:g}": {"model": "lstm", "features": 68, "forget_bias": bias}
    for bias in (1.0, 4.0, 0.0, -1.0)
}

MIXED, MIXED_NARROW = "forget bias 1, spread 3", "forget bias 0, spread 2"
SPREAD: Mapping[str, Flags] = {
    f"forget bias {bias:g}, spread {spread:g}": _tlstm(
        init="spread", forget_bias=bias, forget_spread=spread
    )
    for bias, spread in ((1.0, 3.0), (0.0, 2.0), (-1.0, 1.0), (-2.0, 3.0))
}
# Of permuted 8x8 digits.
TIMES: Mapping[str, Flags] = {
    "chrono 64": _started(chrono=64.0),
    "LSTM, chrono 64": {"model": STARTED_LSTM, "features": 68, "chrono": 64.0},
    "LSTM, spread 3": {"model": STARTED_LSTM, "features": 68, "forget_spread": 3.0},
}


def _others() -> dict[str, Flags]:
    """What else may start otherwise, with the plain gates; some of it with the calm ones too."""
    models = {}
    for name, gates in (("plain", PLAIN), ("calm", CALM)):
        started = {
            "own tap 2": {"own_tap_bias": 2.0},
            "norm scale 0.1": {"norm_scale": 0.1},
            "orthogonal taps": {"kernel": "orthogonal"},
            "identity tap": {"kernel": "identity"},
            "fan-in inside": {"kernel": "inside"},
        }
        models |= {f"{name}, {k}": _started(**gates, **s) for k, s in started.items()}
        models[f"{name}, -M"] = _tlstm(**gates, memory_convolution=False)
        models[f"{name}, no normalization"] = _tlstm(**gates, normalization="none")
        models[f"{name}, 3D"] = _tlstm(3, 3, **gates)
        models[f"{name}, 3D, last wave read"] = _started(3, 3, **gates, readout="wave")
    models["plain, own tap 4"] = _started(**PLAIN, own_tap_bias=4.0)
    models["plain, norm scale 0.3"] = _started(**PLAIN, norm_scale=0.3)
    library = {
        "input scale 0.3": {"input_scale": 0.3},
        "input scale 2": {"input_scale": 2.0},
        "gradients clipped at 0.25": {"clip_norm": 0.25},
        "gradients clipped at 4": {"clip_norm": 4.0},
        "dropout 0.2": {"dropout": 0.2},
        "input dropout 0.2": {"input_dropout": 0.2},
    }
    models |= {f"plain, {k}": _tlstm(**PLAIN, **s) for k, s in library.items()}
    return models | {f"plain, L = {n}": _tlstm(n, **PLAIN) for n in (1, 2, 5)}


def _chosen() -> dict[str, Flags]:
    """Those compared on all tasks."""
    return (
        _gates({1e-5: (1.0, 4.0, -1.0), 1e-2: (-1.0,)})
        | {label: SPREAD[label] for label in (MIXED, MIXED_NARROW)}
        | {label: LSTMS[label] for label in list(LSTMS)[:3]}
    )


def _long() -> dict[str, Flags]:
    """For sequences of 784 steps."""
    models = _gates({1e-5: (1.0, 4.0), 1e-2: (-1.0,)})
    models["calm, kernel scale 0.5"] = _tlstm(**CALM, kernel_scale=0.5)
    models["calm, norm scale 0.3"] = _started(**CALM, norm_scale=0.3)
    models[MIXED] = SPREAD[MIXED]
    models |= {label: LSTMS[label] for label in list(LSTMS)[:1]}
    models["stacked LSTM, L = 3, forget bias 1"] = {
        "model": "stacked_lstm",
        "num_layers": 3,
        "shared": True,
        "features": 48,
    }
    return models


DRAWN = (
    *("forget bias 1, epsilon 1e-05", "forget bias 4, epsilon 1e-05"),
    *("forget bias -1, epsilon 0.01", MIXED, "LSTM, forget bias 1", "LSTM, forget bias 4"),
)


def _experiment(title: str, models: Mapping[str, Flags], heading: str, **flags: Any) -> Experiment:
    return Experiment(
        title,
        {"batch_size": 16, "steps_per_call": 50} | flags,
        models,
        "bpc" if flags["task"] == "char_lm" else "accuracy",
        heading,
        1.0 if flags["task"] == "char_lm" else 100.0,
        seeds=SEEDS,
        search={"learning_rate": (1e-3, 3e-3)},
        split="valid",
        drawn=DRAWN,
    )


EXPERIMENTS: Mapping[str, Experiment] = {
    "pdigits": _experiment(
        "Permuted 8x8 digits",
        GATES | dict(SPREAD) | dict(LSTMS) | dict(TIMES) | _others(),
        "accuracy, %",
        task="pdigits",
        num_steps=600,
        eval_every=50,
    ),
    "text": _experiment(
        "Text",
        _chosen(),
        "bits per character",
        task="char_lm",
        segment_length=50,
        num_steps=600,
        eval_every=50,
    ),
    "addition": _experiment(
        "Addition of 3 digits",
        _chosen(),
        "% of symbols",
        task="addition",
        num_digits=3,
        num_steps=2000,
        eval_every=200,
    ),
    "memorization": _experiment(
        "Memorization of 10 of 32 symbols",
        _chosen(),
        "% of symbols",
        task="memorization",
        num_symbols=10,
        alphabet_size=32,
        num_steps=2000,
        eval_every=200,
    ),
    "copy": _experiment(
        "Copying over 30 steps",
        _chosen(),
        "% of symbols",
        task="copy",
        delay=30,
        num_steps=2000,
        eval_every=200,
    ),
    "pmnist": _experiment(
        "Permuted MNIST, 9,600 images",
        _long(),
        "accuracy, %",
        task="pmnist",
        num_steps=600,
        eval_every=200,
    ),
}

"""The experiments of He et al. (NIPS 2017) at their sizes, in the order of their worth."""

import math
from collections.abc import Mapping
from typing import Any

from tlstm_jax.scripts.experiments.experiment import Experiment, Flags
from tlstm_jax.scripts.experiments.page import Page

PAGE = Page(
    "reproduction",
    "reproduce",
    "The paper's experiments at the paper's sizes",
    """
makes this page and its pictures from its runs, with settings in `scripts/experiments/reproduction.py`;
`--minutes` bounds a call, and the next one goes on, on whatever device is there. `--data_dir` and
`--data_path` say where MNIST and the text are. What the page is made of is kept beside it, without
the weights, in `reproduction/runs.tar.xz`: unpacked, `--workdir=docs/reproduction/runs --minutes=0`
makes it again.

A figure is that of the checkpoint that is best on the validation split, on the test split: the mean of
the seeds, and in brackets each. Samples to a target are counted up to the first of two evaluations in a
row that reach it; an accuracy is of symbols, and what the paper counts is not known here. Minutes are
those of all seeds together. Where a run is not finished, its figures are missing, and its curve is in
the picture. The paper's run time against depth is in [the benchmark](benchmark.md).
""",
)
SEEDS = (0, 1, 2)
SEARCH = {"learning_rate": (1e-3, 2e-3, 4e-3), "forget_bias": (-1.0, 1.0, 4.0)}
TLSTM = {"model": "tlstm", "normalization": "channel", "init": "spread"}
STACKED = {"model": "stacked_lstm", "shared": True}
TALL = "3D tLSTM+CN, L = 3"
PERMUTED = {TALL: "94.9 %", "LSTM, M = 100": "88.0 %, of 128 units"}
SEQUENTIAL = {TALL: "99.2 %", "LSTM, M = 100": "98.2 %, of 128 units"}
AS_PUBLISHED = {
    "init": "paper",
    "learning_rate": 1e-3,
    "schedule": "constant",
    "warmup_steps": 0,
}
# Ours: a higher, decaying rate leaves the plateau sooner.
OURS = {
    "batch_size": 15,
    "learning_rate": 3e-3,
    "schedule": "cosine",
    "warmup_steps": 100,
    "eval_every": 200,
    "steps_per_call": 50,
    "stop_at_target": True,
}


def _tensor(*shape: int, **settings: Any) -> Flags:
    return TLSTM | {"tensor_shape": ",".join(map(str, shape))} | settings


def _memorization(models: Mapping[str, Flags], title: str, **settings: Any) -> Experiment:
    return Experiment(
        title,
        OURS | {"task": "memorization", "num_symbols": 20, "alphabet_size": 64, "num_steps": 8000},
        models,
        "accuracy",
        "% of symbols",
        100,
        target="samples to 99 %",
        **settings,
    )


# Remembering from the first step: for the tensorized and the stacked LSTM alike.
LONG = {"init": "paper", "forget_bias": 4.0}


def _of_memorization() -> Experiment:
    models = {f"2D tLSTM+CN, L = {n}": _tensor(n, features=100, **LONG) for n in (4, 7, 10)}
    models["3D tLSTM+CN, L = 4"] = _tensor(4, 4, features=100, **LONG)
    models["stacked LSTM, L = 4"] = STACKED | {"num_layers": 4, "features": 100, "forget_bias": 4.0}
    models["2D tLSTM+CN, L = 4, spread"] = _tensor(4, features=100)
    models["2D tLSTM+CN, L = 4, as published"] = _tensor(4, features=100, **AS_PUBLISHED)
    return _memorization(
        models,
        "Memorization of 20 of 64 symbols",
        seeds=SEEDS,
        papers="In the paper a tied Grid LSTM needs 150 K samples, and a stacked LSTM has more than "
        "50 % after 900 K.",
    )


def _deep_memorization() -> Experiment:
    return _memorization(
        {f"3D tLSTM+CN, L = {n}": _tensor(n, n, features=100, **LONG) for n in (7, 10)},
        "Memorization of 20 of 64 symbols by deep tensors, one seed",
        seeds=SEEDS[:1],
        published={
            "3D tLSTM+CN, L = 7": "115 K samples to 99 %",
            "3D tLSTM+CN, L = 10": "54 K samples to 99 %",
        },
    )


def _addition(digits: int, num_steps: int) -> Experiment:
    models = {}
    for features in (100, 200, 400):
        for depth in (4, 7):
            for kind, shape in (("2D", (depth,)), ("3D", (depth, depth))):
                label = f"{kind} tLSTM+CN, L = {depth}, M = {features}"
                models[label] = _tensor(*shape, features=features, **LONG)
    models["2D tLSTM+CN, L = 10, M = 100"] = _tensor(10, features=100, **LONG)
    stacked = {"num_layers": 4, "features": 400, "forget_bias": 4.0}
    models["stacked LSTM, L = 4, M = 400"] = STACKED | stacked
    published = {}
    if digits == 15:
        published = {
            "3D tLSTM+CN, L = 7, M = 400": "298 K samples to 99 %",
            "stacked LSTM, L = 4, M = 400": "51 % after 5 M samples, with L = 18",
        }
    return Experiment(
        f"Addition of {digits} digits, one seed",
        OURS | {"task": "addition", "num_digits": digits, "num_steps": num_steps},
        models,
        "accuracy",
        "% of symbols",
        100,
        seeds=SEEDS[:1],
        published=published,
        target="samples to 99 %",
    )


def _addition_by_curriculum() -> Experiment:
    return Experiment(
        "Addition of 8 digits, learned on numbers of 1 to 8 digits, one seed",
        OURS
        | {
            "task": "addition",
            "num_digits": 8,
            "batch_size": 32,
            "curriculum_steps": 8000,
            "num_steps": 16_000,
            "eval_every": 500,
        },
        {
            "2D tLSTM+CN, L = 4, M = 100": _tensor(4, features=100, **LONG),
            "2D tLSTM+CN, L = 7, M = 100": _tensor(7, features=100, **LONG),
            "stacked LSTM, L = 4, M = 123": STACKED
            | {"num_layers": 4, "features": 123, "forget_bias": 4.0},
        },
        "accuracy",
        "% of symbols",
        100,
        seeds=SEEDS[:1],
        target="samples to 99 %",
        papers="Evaluations are of 8 digits only. The stacked LSTM has as many parameters as the tensors.",
    )


# With a kernel's scale of 1, gradients explode over 784 steps: "pmnist-scale-1".
TENSOR_ON_MNIST = {"init": "paper", "forget_bias": -1.0, "epsilon": 1e-2, "kernel_scale": 0.5}
LSTM_ON_MNIST = {"forget_bias": 1.0}
EQUAL_LSTM = {"model": "lstm", "features": 173}
IMAGES = {"batch_size": 50, "schedule": "cosine", "warmup_steps": 100, "steps_per_call": 10}
RATES = {"learning_rate": (1e-3, 3e-3)}


def _best_alone(search: Mapping[str, tuple[float, ...]], steps: int) -> Flags:
    """The flags with which only the best setting of a search goes on after so many steps."""
    return {"halving": math.prod(map(len, search.values())), "halving_steps": steps}


def _images(
    title: str,
    task: str,
    published: Flags,
    *,
    search: Mapping[str, tuple[float, ...]] = RATES,
    tensor: Flags = TENSOR_ON_MNIST,
    lstm: Flags = LSTM_ON_MNIST,
    **flags: Any,
) -> Experiment:
    """Those with "equal" in their names have the parameters of the 2D tLSTM, 123,000."""
    return Experiment(
        title,
        {"task": task} | IMAGES | flags,
        {
            "2D tLSTM+CN, L = 3": _tensor(3, features=100, **tensor),
            "LSTM, equal": EQUAL_LSTM | lstm,
            "stacked LSTM, L = 3, equal": STACKED | {"num_layers": 3, "features": 123, **lstm},
            "3D tLSTM+CN, L = 3, equal": _tensor(3, 3, features=57, **tensor),
            "LSTM, M = 100": {"model": "lstm", "features": 100, **lstm},
            TALL: _tensor(3, 3, features=100, **tensor),
        },
        "accuracy",
        "test accuracy, %",
        100,
        seeds=SEEDS,
        search=search,
        halving=_best_alone(search, flags["eval_every"]),
        published=published,
    )


def _scale_of_1() -> Experiment:
    """Without a search: what two of three seeds do not learn with."""
    calm = {"init": "paper", "forget_bias": -1.0, "epsilon": 1e-2, "learning_rate": 1e-3}
    lstm = EQUAL_LSTM | {"forget_bias": 1.0, "learning_rate": 3e-3}
    return Experiment(
        "Permuted MNIST, 30,000 images, where the cross-layer kernel starts at full scale",
        {"task": "pmnist"} | IMAGES | {"num_steps": 600, "eval_every": 300},
        {"2D tLSTM+CN, L = 3": _tensor(3, features=100, **calm), "LSTM, equal": lstm},
        "accuracy",
        "test accuracy, %",
        100,
        seeds=SEEDS,
    )


TEXT = {
    "task": "char_lm",
    "batch_size": 32,
    "segment_length": 100,
    "steps_per_call": 10,
}
OF_TEXT = (
    "All have 250,000 parameters. The paper has 90 MB of enwik8, 10 M parameters and 50 epochs."
)


def _text() -> Experiment:
    return Experiment(
        "6 MB of wiki text, each model with its own rate and forget bias",
        TEXT | {"num_steps": 3000, "eval_every": 250},
        {
            "LSTM": {"model": "lstm", "features": 153},
            "2D tLSTM+CN, L = 3": _tensor(3, features=128),
            "stacked LSTM, L = 3": STACKED | {"num_layers": 3, "features": 153},
        },
        "bpc",
        "bits per character",
        seeds=SEEDS[:2],
        search=SEARCH,
        halving=_best_alone(SEARCH, 250),
        papers=OF_TEXT,
    )


def _ablations() -> Experiment:
    return Experiment(
        "6 MB of wiki text: what the parts of the tensorized LSTM do",
        TEXT | {"learning_rate": 4e-3, "num_steps": 1000, "eval_every": 200},
        {
            "2D tLSTM+CN, L = 3": _tensor(3, features=128),
            "2D tLSTM+CN, L = 1": _tensor(1, features=128),
            "2D tLSTM+CN, L = 2": _tensor(2, features=128),
            "2D tLSTM+CN, L = 4": _tensor(4, features=128),
            "3D tLSTM+CN, L = 3": _tensor(3, 3, features=77),
            "2D tLSTM, L = 3": _tensor(3, features=128, normalization="none"),
            "2D tLSTM+LN, L = 3": _tensor(3, features=128, normalization="layer"),
            "2D tLSTM+CN-F, L = 3": _tensor(3, features=152, kernel_size=2),
            "2D tLSTM+CN-M, L = 3": _tensor(3, features=128, memory_convolution=False),
            "2D tLSTM+CN, L = 3, as published": _tensor(3, features=128, init="paper"),
        },
        "bpc",
        "bits per character",
        seeds=SEEDS[:2],
        papers=f"+LN is not causal: it sees its own targets, and is not comparable. {OF_TEXT}",
    )


EXPERIMENTS: Mapping[str, Experiment] = {
    "memorization": _of_memorization(),
    "memorization-deep": _deep_memorization(),
    "addition-5": _addition(5, 12_000),
    "addition-8": _addition(8, 20_000),
    "addition-8-curriculum": _addition_by_curriculum(),
    "addition-10": _addition(10, 30_000),
    "addition-15": _addition(15, 40_000),
    "pmnist-short": _images(
        "Permuted MNIST, 30,000 images, each model with its own rate",
        "pmnist",
        {},
        num_steps=600,
        eval_every=150,
        valid_fraction=0.02,
    ),
    "pmnist-scale-1": _scale_of_1(),
    "pmnist": _images(
        "Permuted MNIST, 10 epochs", "pmnist", PERMUTED, num_steps=11_000, eval_every=550
    ),
    "mnist": _images(
        "Sequential MNIST, 10 epochs", "mnist", SEQUENTIAL, num_steps=11_000, eval_every=550
    ),
    "pdigits": _images(
        "Permuted 8x8 digits, each model with its own rate and forget bias",
        "pdigits",
        {},
        search=SEARCH,
        tensor={},
        lstm={},
        num_steps=2500,
        eval_every=250,
    ),
    "text": _text(),
    "ablations": _ablations(),
}

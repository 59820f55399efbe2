"""The newer tasks: models made for a task beside the LSTM and the tensorized LSTM."""

from collections.abc import Mapping

from tlstm_jax.scripts.experiments.experiment import Experiment
from tlstm_jax.scripts.experiments.page import Page

PAGE = Page(
    "showcase",
    "showcase",
    "The newer tasks: models made for a task beside the LSTM and the tensorized LSTM",
    """
makes this page and its pictures from its runs, two seeds of each model with settings in
`scripts/experiments/showcase.py`: short trainings, without a search over settings. A figure is that of
the checkpoint that is best on the validation split, on the test split: the mean of both seeds, and in
brackets each. Minutes are those of both seeds, of two models at the same time.
""",
)
TLSTM = {"model": "tlstm", "tensor_shape": "3", "normalization": "channel", "init": "paper"}
# A step of it takes as many inner steps as the sequence has symbols, hence fewer of them.
NEURAL_GPU = {
    "model": "neural_gpu",
    "features": 24,
    "width": 2,
    "curriculum_steps": 1000,
    "num_steps": 3000,
    "learning_rate": 2e-3,
    "schedule": "cosine",
}


def _transduction(what: str, task: str, papers: str = "") -> Experiment:
    """Trained on sequences of 20 bits, evaluated on 100 as well."""
    return Experiment(
        f"{what} of 20 bits, and of 100",
        {
            "task": task,
            "num_symbols": 20,
            "batch_size": 16,
            "num_steps": 6000,
            "learning_rate": 3e-3,
            "eval_every": 250,
            "eval_samples": 500,
            "eval_batch_size": 50,
            "stop_at_target": True,
        },
        {
            "LSTM": {"model": "lstm", "features": 64},
            "tLSTM": TLSTM | {"features": 40},
            "Neural GPU": NEURAL_GPU,
        },
        "accuracy",
        "% of symbols",
        100,
        longer={"% of symbols of 100": {"num_symbols": 100, "eval_samples": 100}},
        papers=papers,
    )


EXPERIMENTS: Mapping[str, Experiment] = {
    "rows": Experiment(
        "Digits row by row",
        {
            "task": "rows_digits",
            "batch_size": 32,
            "num_steps": 2000,
            "learning_rate": 3e-3,
            "eval_every": 150,
        },
        {
            "LSTM": {"model": "lstm", "features": 64},
            "tLSTM": TLSTM | {"features": 36},
            "ConvLSTM": {"model": "conv_lstm", "features": 24},
            "PyraMiD-LSTM": {"model": "pyramid_lstm", "features": 12},
            "MD-LSTM": {"model": "md_lstm", "features": 16},
        },
        "accuracy",
        "test accuracy, %",
        100,
    ),
    "frames": Experiment(
        "The next frame of bouncing digits",
        {
            "task": "moving_digits",
            "batch_size": 16,
            "num_steps": 1500,
            "learning_rate": 3e-3,
            "eval_every": 150,
        },
        {
            "LSTM": {"model": "lstm", "features": 128},
            "tLSTM": TLSTM | {"features": 96},
            "ConvLSTM": {"model": "conv_lstm", "features": 16, "num_layers": 2},
        },
        "loss",
        "nats per frame",
        picture="rollout.png",
    ),
    "pixels": Experiment(
        "Binarized digits pixel by pixel",
        {
            "task": "pixels_digits",
            "batch_size": 32,
            "num_steps": 1500,
            "learning_rate": 3e-3,
            "eval_every": 150,
        },
        {
            "LSTM": {"model": "lstm", "features": 64},
            "tLSTM": TLSTM | {"features": 40},
            "Row LSTM": {"model": "row_lstm", "features": 24, "by": "rows"},
        },
        "nats_per_image",
        "nats per image",
        picture="samples.png",
    ),
    "recall": Experiment(
        "Associative recall of 8 pairs",
        {
            "task": "associative_recall",
            "num_pairs": 8,
            "batch_size": 64,
            "num_steps": 6000,
            "learning_rate": 2e-3,
            "eval_every": 500,
        },
        {
            "LSTM": {"model": "lstm", "features": 64},
            "tLSTM": TLSTM | {"features": 40},
            "fast weights, 2016": {"model": "fast_weights", "features": 64},
            "fast weights, 1992": {"model": "fast_weights_1992", "features": 64},
        },
        "accuracy",
        "test accuracy, %",
        100,
        papers="In Ba et al. (2016), fast weights of 50 units make no errors with 4 pairs.",
    ),
    "copy": Experiment(
        "The copying memory problem, a delay of 100",
        {
            "task": "copy",
            "delay": 100,
            "batch_size": 20,
            "num_steps": 6000,
            "learning_rate": 1e-3,
            "eval_every": 250,
            "stop_at_target": True,
        },
        {
            "LSTM": {"model": "lstm", "features": 64},
            "tLSTM": TLSTM | {"features": 40},
            "uRNN": {"model": "urnn", "features": 128},
        },
        "accuracy",
        "test accuracy, % of symbols",
        100,
        papers="Arjovsky et al. (2016) have curves: the uRNN solves it at T = 100, the LSTM does not "
        "in as many steps.",
    ),
    "adding": Experiment(
        "The adding problem, 200 numbers",
        {
            "task": "adding",
            "sequence_length": 200,
            "batch_size": 20,
            "num_steps": 5000,
            "learning_rate": 1e-3,
            "eval_every": 500,
            "stop_at_target": True,
        },
        {
            "LSTM": {"model": "lstm", "features": 64},
            "tLSTM": TLSTM | {"features": 40},
            "IRNN": {"model": "irnn", "features": 100, "num_steps": 20000},
        },
        "loss",
        "mean squared error",
        papers="The best constant answer has an error of 1/6. Le et al. (2015) have curves: the IRNN and "
        "the LSTM both reach an error near 0 at T = 200.",
    ),
    "duplication": _transduction(
        "Duplication",
        "duplication",
        papers="Kaiser and Sutskever (2016): trained at length 20, the Neural GPU is right at 100 and "
        "beyond, with the answer written over the question; here it stands behind it, and other "
        "lengths are answered in part only.",
    ),
    "reversal": _transduction("Reversal", "reversal"),
}

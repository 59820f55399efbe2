"""Every model of the zoo by its name: it learns, and it trains on every task."""

import functools

import jax
import jax.numpy as jnp
import pytest

from tlstm_jax import training, zoo
from tlstm_jax.scripts.train import RUN_FLAGS
from tlstm_jax.tasks.addition import addition
from tlstm_jax.tasks.char_lm import char_lm
from tlstm_jax.tasks.images import pdigits
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training import loop
from tlstm_jax.training.settings import TrainSettings

SMALL = {
    "tlstm": {"tensor_shape": (2,)},
    "trnn": {"tensor_shape": (2,)},
    "skip_rnn": {"skip": 3},
    "fast_weights_1992": {"decay": 0.7},  # or else it knows no order
    "bn_lstm": {"max_steps": 10},
    "wavenet": {"dilations": (1, 2, 4)},
}
# A blank is the same throughout the batch and has no variance: its running mean is good once
# weights hardly change.
SCHEDULES = {"bn_lstm": "cosine"}
MODELS = pytest.mark.parametrize("name", zoo.MODELS)
READ_VECTORS = pytest.mark.parametrize(
    "name", [name for name, entry in zoo.MODELS.items() if not entry.axes]
)


def network_for(task, name, channels):
    sizes = {"input_size": task.input_size, "output_size": task.output_size, "tokens": task.tokens}
    return zoo.make_network(name, features=channels, **sizes, **SMALL.get(name, {}))


@pytest.mark.slow(but=["lstm"])
@READ_VECTORS
def test_learns_to_repeat_3_of_4_symbols(name):
    task = memorization(num_symbols=3, alphabet_size=4, batch_size=16, eval_samples=250)
    train = TrainSettings(
        num_steps=300,
        learning_rate=5e-3,
        schedule=SCHEDULES.get(name, "constant"),
        steps_per_call=50,
        eval_every=300,
        checkpoint_every=300,
    )
    *_, report = training.fit(network_for(task, name, 24), task, train)
    accuracy = report.valid["accuracy"]  # by chance 0.25
    assert accuracy > 0.55, "settings with which it learns this belong into SMALL or SCHEDULES"


@pytest.mark.slow(but=["lstm", "wavenet"])
@READ_VECTORS
def test_a_training_step_of_every_task_is_well_typed(name):
    train = TrainSettings()
    for task in (
        addition(num_digits=2, batch_size=3),
        pdigits(batch_size=3),
        char_lm(batch_size=2, segment_length=8),
    ):
        network = network_for(task, name, 4)
        init = functools.partial(training.init_state, network, task, train)
        state = jax.eval_shape(init, jax.random.key(0))
        step = functools.partial(training.train_step, network, task, train, data=task.data)
        after, _ = jax.eval_shape(lambda state: step(state=state), state)  # noqa: B023
        assert jax.tree.structure(after) == jax.tree.structure(state)
        for new, old in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
            assert (new.shape, new.dtype) == (old.shape, old.dtype)


@MODELS
def test_every_setting_has_a_flag_and_a_citation_has_a_year(name):
    for setting, kind in zoo.setting_types(name).items():
        assert setting in RUN_FLAGS
        default = zoo.model_settings(name)[setting]
        assert default is None or isinstance(default, kind if kind != tuple[int, ...] else tuple)
    assert 1989 < int(zoo.MODELS[name].year) < 2026


@pytest.mark.slow
@pytest.mark.parametrize(
    "around",
    [
        {"num_layers": 2, "residual": True, "dropout": 0.2, "input_dropout": 0.1},
        {"bidirectional": True, "num_layers": 2, "dropout": 0.1, "variational_dropout": True},
        {"recurrent_dropout": 0.1, "zoneout_hidden": 0.1, "zoneout_memory": 0.2},
        {"learned_carry": True, "carry_scale": 0.5, "dtype": "bfloat16"},
        {"remat_every": 3, "engine": "scan"},
    ],
    ids=lambda around: next(iter(around)),
)
def test_what_is_around_a_model_trains(around):
    task = memorization(num_symbols=2, alphabet_size=3, batch_size=4)
    sizes = {"input_size": task.input_size, "output_size": task.output_size, "tokens": True}
    network = zoo.make_network("lstm", features=6, **sizes, **around)
    train = TrainSettings(num_steps=4, steps_per_call=2, eval_every=4, checkpoint_every=4)
    *_, report = training.fit(network, task, train)
    before, _ = jax.jit(network.init)(loop._key(jax.random.key(0), "init"))
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), report.state.params, before)
    assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize(
    ("name", "given", "text"),
    [
        ("hm_lstm", {"num_layers": 1}, "num_layers is 1; accepted in an HM-LSTM are integers >= 2"),
        ("urnn", {"dtype": "bfloat16"}, "dtype of a UnitaryRNN is bfloat16; accepted are None"),
        ("full_urnn", {"features": 5}, "features of a FullCapacityURNN is 5; accepted are even"),
        ("wavenet", {"zoneout_hidden": 0.1}, "zoneout_hidden is 0.1; accepted for WaveNet, not a"),
        ("bn_lstm", {"learned_carry": True}, "learned_carry is True; accepted for BatchNormLSTM"),
        ("rhn", {"recurrent_dropout": 0.1}, "RHN has one state for its products and memory"),
        ("gru", {"zoneout_memory": 0.1}, "GRU has no memory in its carry; accepted is memory=0"),
        ("tlstm", {"learned_carry": True}, "TensorizedLSTM has a delay of 2; accepted with"),
        ("gru", {"reset": "never"}, "reset is 'never'; accepted are before, after"),
        ("dilated", {"cell": "rhn"}, "cell is 'rhn'; accepted are elman, gru, lstm"),
        ("qrnn", {"pooling": "o"}, "pooling is 'o'; accepted are f, fo, ifo"),
        ("sru", {"version": 2016}, "version is 2016; accepted are 2017, 2018"),
        ("mut", {"variant": 4}, "variant is 4; accepted are 1, 2, 3"),
        ("lstm", {"features": 0}, "features is 0; accepted are integers >= 1"),
        ("lstm", {"num_layers": 0}, "num_layers is 0; accepted are integers >= 1"),
        ("lstm", {"dropout": 1.0}, "dropout is 1.0; accepted are rates in [0, 1)"),
        ("lstm", {"depth": 2}, "depth is not a setting of model lstm; accepted are features"),
        ("neural_gpu", {"relaxation_pull": 0.1}, "relaxation_pull is 0.1; accepted with one copy"),
        ("neural_gpu", {"kernel_size": 4}, "kernel_size is 4; accepted are odd integers >= 1"),
        ("extended_neural_gpu", {"num_outputs": 0}, "num_outputs is 0; accepted are integers >= 1"),
        ("nothing", {}, "model is 'nothing'; accepted are tlstm"),
    ],
)
def test_refuses_in_one_line_by_name(name, given, text):
    with pytest.raises(ValueError) as error:
        zoo.make_model(name, **given)
    assert text in str(error.value) and "\n" not in str(error.value)


def test_generation_names_the_part_that_is_not_causal():
    sizes = {"input_size": 3, "output_size": 3, "tokens": True}
    network = zoo.make_network("gru", features=4, bidirectional=True, num_layers=2, **sizes)
    with pytest.raises(ValueError, match=r"^Bidirectional is not causal"):
        network.check_causal()

"""Settings that would do nothing, or harm, are refused, under the names that the user gave them."""

import dataclasses
import json
import math

import jax.numpy as jnp
import pytest

from tlstm_jax import LSTM, runs, training, zoo
from tlstm_jax.models.batch_norm_lstm import BatchNormLSTM
from tlstm_jax.network import Network
from tlstm_jax.overrides import override
from tlstm_jax.runs import settings
from tlstm_jax.runs.directory import RunDirectory
from tlstm_jax.scripts import train
from tlstm_jax.scripts.sweep import space
from tlstm_jax.scripts.sweep.plan import Sweep
from tlstm_jax.sweeps.search import Halving, LogUniform, Uniform, grid, random_search
from tlstm_jax.tasks.catalogue import TASKS
from tlstm_jax.tasks.images import digits
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training.settings import TrainSettings

NAN, INF = math.nan, math.inf
TRAINING = [
    ({"warmup_steps": -1}, "warmup_steps is -1; accepted are 0 to num_steps - 1"),
    ({"warmup_steps": 1000}, "warmup_steps is 1000; accepted are 0 to num_steps - 1"),
    ({"warmup_steps": 1.5}, "warmup_steps is 1.5; accepted are"),
    ({"weight_decay": 0.1}, "weight_decay is 0.1; accepted with optimizer adam is 0"),
    ({"weight_decay": -0.1, "optimizer": "adamw"}, "weight_decay is -0.1; accepted are"),
    ({"weight_decay": NAN, "optimizer": "adamw"}, "weight_decay is nan; accepted are"),
    ({"weight_decay": INF, "optimizer": "adamw"}, "weight_decay is inf; accepted are"),
    ({"learning_rate": NAN}, "learning_rate is nan; accepted are"),
    ({"learning_rate": INF}, "learning_rate is inf; accepted are"),
    ({"learning_rate": 0.0}, "learning_rate is 0.0; accepted are"),
    ({"learning_rate": 1e-45}, "learning_rate is 1e-45; accepted are"),
    ({"learning_rate": 1e39}, r"learning_rate is 1e\+39; accepted are"),
    ({"learning_rate": "0.1"}, "learning_rate is '0.1'; accepted are"),
    ({"learning_rate": True}, "learning_rate is True; accepted are"),
    ({"clip_norm": NAN}, "clip_norm is nan; accepted are"),
    ({"clip_norm": INF}, "clip_norm is inf; accepted are"),
    ({"clip_norm": 1e-45}, "clip_norm is 1e-45; accepted are"),
    ({"clip_norm": -1.0}, "clip_norm is -1.0; accepted are"),
    ({"num_steps": 10.5}, "num_steps is 10.5; accepted are integers"),
    ({"eval_every": True}, "eval_every is True; accepted are integers"),
    ({"patience": 1.5}, "patience is 1.5; accepted are"),
    ({"seed": 2**31}, "seed is 2147483648; accepted are integers"),
    ({"seed": 0.5}, "seed is 0.5; accepted are integers"),
]


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize(("change", "message"), TRAINING)
def test_bounds_of_training_hold_in_every_branch_and_in_python(change, message, schedule):
    with pytest.raises(ValueError, match=f"^{message}"):
        TrainSettings(**{"schedule": schedule} | change)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("change", [change for change, _ in TRAINING])
def test_bounds_of_training_hold_on_the_command_line(change, schedule):
    (name, *_) = change
    with pytest.raises(ValueError, match=f"^{name} is .*; accepted"):
        settings.resolve({"task": "addition", "schedule": schedule, **change}, None).check()


def test_the_rate_of_a_warm_up_is_never_zero_for_ever():
    rate = TrainSettings(warmup_steps=999, learning_rate=2.0).learning_rate_schedule()
    assert float(rate(999)) == 2.0


def test_traced_weight_decay_is_refused_where_it_has_no_effect():
    params = {"w": jnp.zeros((2,))}
    settings = override(TrainSettings(), {"weight_decay": jnp.float32(0.1)})
    with pytest.raises(ValueError, match="weight_decay is traced; accepted with optimizer adam"):
        settings.make_optimizer(params)


NO_TARGET = "stop_at_target is True; accepted for task digits, which has no target, is False"


def test_stopping_at_a_target_needs_one():
    chosen = settings.resolve({"task": "digits", "stop_at_target": True}, None)
    with pytest.raises(ValueError, match=NO_TARGET):
        chosen.make()
    network = Network(LSTM(4), 1, 10)
    with pytest.raises(ValueError, match=NO_TARGET):
        next(training.fit(network, digits(), TrainSettings(stop_at_target=True)))


WITHOUT_EFFECT = [
    ("lstm", {"residual": True}, "residual is True; accepted with one layer"),
    ("stacked_lstm", {"residual": True}, "residual is True; accepted with one layer"),
    ("lstm", {"skip_connections": True}, "skip_connections is True; accepted with one layer"),
    ("stacked_lstm", {"skip_connections": True}, "skip_connections is True; accepted with one"),
    (
        "lstm",
        {"variational_dropout": True},
        "variational_dropout is True; accepted without dropout or input_dropout is False",
    ),
    ("gla", {"block_features": 8}, "block_features is 8; accepted without block is None"),
    ("gla", {"block_gate": False}, "block_gate is False; accepted without block is True"),
    ("gla", {"block_normalize": False}, "block_normalize is False; accepted without block is Tr"),
    ("gla", {"block_conv_size": 1}, "block_conv_size is 1; accepted without block is 4"),
    ("lstm", {"carry_scale": 0.1}, "carry_scale is 0.1; accepted without learned_carry is None"),
    ("urnn", {"learned_carry": False, "carry_scale": 0.1}, "carry_scale is 0.1; accepted without"),
    (
        "gru",
        {"ponder_cost": 0.1},
        "ponder_cost is 0.1; accepted without max_ponder of 2 or more is",
    ),
    (
        "gru",
        {"ponder_epsilon": 0.1, "max_ponder": 1},
        "ponder_epsilon is 0.1; accepted without max",
    ),
    (
        "stacked_lstm",
        {"shared": True, "num_layers": 1},
        "shared is True; accepted with one layer is False",
    ),
    ("grid_lstm", {"tied": True, "num_layers": 1}, "tied is True; accepted with one layer is Fal"),
]


@pytest.mark.parametrize(("model", "given", "message"), WITHOUT_EFFECT)
def test_settings_without_effect_are_refused(model, given, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        zoo.make_model(model, **given)
    with pytest.raises(ValueError, match=f"^{message}"):
        settings.resolve({"task": "addition", "model": model, **given}, None).check()


def test_a_sweep_may_go_over_values_beside_which_a_setting_has_no_effect():
    assert "dropout" in train.RUN_FLAGS
    given = {"task": "memorization", "model": "lstm", "variational_dropout": True}
    swept = Sweep.make(given, None, space.parse(["dropout=0,0.1"]))
    assert [run.model_settings["variational_dropout"] for run in swept.runs] == [False, True]
    with pytest.raises(ValueError, match=r"^variational_dropout is True; accepted without"):
        Sweep.make(given, None, space.parse(["learning_rate=1e-3,1e-2"]))


def test_settings_with_an_effect_are_taken():
    zoo.make_model("lstm", residual=True, num_layers=2)
    zoo.make_model("lstm", skip_connections=True, num_layers=2)
    zoo.make_model("stacked_lstm", shared=True)
    zoo.make_model("grid_lstm", tied=True)
    zoo.make_model("lstm", variational_dropout=True, input_dropout=0.1)
    zoo.make_model("lstm", carry_scale=0.1, learned_carry=True)
    zoo.make_model("urnn", learned_carry=False)
    zoo.make_model("gru", max_ponder=1)
    blocks = zoo.make_model("gla", block=True, block_features=6, block_conv_size=1).layers
    assert [(block.features, block.embed, block.conv_size) for block in blocks] == [
        (6, True, 1),
        (6, False, 1),
    ]
    zoo.make_model("gru", max_ponder=2, ponder_cost=0.1, ponder_epsilon=0.1, engine="scan")
    for name in zoo.MODELS:
        zoo.make_model(name, **zoo.model_settings(name))


NOT_TOGETHER = [
    (
        "gla",
        {"residual": True, "block": True},
        "residual is True; accepted with block is False",
    ),
    ("tlstm", {"block": True}, "block is True; model is a .* with a delay of 2; accepted in a"),
    ("gru", {"block": True, "block_conv_size": 0}, "block_conv_size is 0; accepted are integers"),
    (
        "lstm",
        {"num_layers": 2, "residual": True, "skip_connections": True},
        "residual is True; accepted with skip_connections is False",
    ),
    (
        "lstm",
        {"max_ponder": 3, "learned_carry": True},
        "max_ponder is 3; accepted with learned_car",
    ),
    ("urnn", {"max_ponder": 3}, "max_ponder is 3; accepted with learned_carry is 0"),
    ("lstm", {"max_ponder": 3, "engine": "cudnn"}, "engine is cudnn; accepted with max_ponder are"),
    ("lstm", {"max_ponder": 3, "ponder_cost": -0.1}, "ponder_cost is -0.1; accepted are numbers"),
    ("lstm", {"max_ponder": 3, "ponder_epsilon": 1.0}, "ponder_epsilon is 1.0; accepted are numb"),
    ("tlstm", {"max_ponder": 3}, "max_ponder is 3; TensorizedLSTM has a delay of 2; accepted with"),
    ("qrnn", {"max_ponder": 3}, "max_ponder is 3; accepted for QRNN, not a single cell, is 0"),
]


@pytest.mark.parametrize(("model", "given", "message"), NOT_TOGETHER)
def test_what_does_not_go_together_is_refused(model, given, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        zoo.make_model(model, **given)
    with pytest.raises(ValueError, match=f"^{message}"):
        settings.resolve({"task": "addition", "model": model, **given}, None).check()


HARMFUL = {
    int: [-1],
    float: [NAN, INF, -INF, 1e39],
    bool: [],
    str: ["nonsense"],
    tuple[int, ...]: [(-1,), (0,), ()],
}
RATES = ("dropout", "input_dropout", "recurrent_dropout", "zoneout_hidden", "zoneout_memory")


def _harmful(kind, name):
    plain = next(plain for plain in HARMFUL if kind in (plain, plain | None))
    values = [v for v in HARMFUL[plain] if (name, v) != ("spatial_shape", ())]
    return [*values, *([1.0, -0.1] if name in RATES else [])]


@pytest.mark.parametrize("model", zoo.MODELS)
def test_what_a_model_refuses_is_named_as_the_user_named_it(model):
    for name, kind in zoo.setting_types(model).items():
        for value in _harmful(kind, name):
            with pytest.raises(ValueError, match=rf"^{name} is .*; accepted") as python:
                zoo.make_model(model, **{name: value})
            with pytest.raises(ValueError, match=rf"^{name} is .*; accepted"):
                settings.resolve({"task": "addition", "model": model, name: value}, None).check()
            assert "\n" not in str(python.value)


@pytest.mark.parametrize("task", TASKS)
def test_what_a_task_refuses_is_named_as_the_user_named_it(task):
    for name, default in settings.task_settings(task).items():
        if type(default) is int:
            for value in (-1, 2**31):
                with pytest.raises(ValueError, match=rf"^{name} is .*; accepted are integers from"):
                    settings.resolve({"task": task, name: value}, None)


def test_sizes_are_said_to_be_at_least_one():
    with pytest.raises(ValueError, match=r"accepted are integers from 1 to 1,048,576$"):
        settings.resolve({"task": "addition", "batch_size": 2**21}, None)


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("model", zoo.MODELS)
def test_what_cannot_be_put_around_a_model_is_named_as_the_user_named_it(model, name):
    try:
        zoo.make_model(model, **{name: 0.1})
    except ValueError as error:
        assert str(error).startswith(f"{name} is 0.1; ")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epsilon": -1.0}, "epsilon is -1.0; accepted are numbers > 0"),
        ({"epsilon": 0.0}, "epsilon is 0.0; accepted are numbers > 0"),
        ({"epsilon": NAN}, "epsilon is nan; accepted are numbers > 0"),
        ({"initial_noise": -0.1}, "initial_noise is -0.1; accepted are numbers >= 0"),
        ({"momentum": NAN}, "momentum is nan; accepted are numbers in"),
    ],
)
def test_bounds_of_batch_normalization_hold_in_python(given, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        BatchNormLSTM(3, **given)


def _sweep(*over, **options):
    assert "seed" in train.RUN_FLAGS  # the flags of any program that trains
    given = {"task": "memorization", "num_symbols": 2, "model": "lstm"}
    return Sweep.make(given, None, space.parse(over), **options)


@pytest.mark.parametrize(
    ("over", "options", "message"),
    [
        (["learning_rate=log:0:1"], {"samples": 2}, "learning_rate is log:0:1; accepted are"),
        (["learning_rate=log:1:0.1"], {"samples": 2}, "learning_rate is log:1:0.1; accepted are"),
        (["dropout=uniform:1:0"], {"samples": 2}, "dropout is uniform:1:0; accepted are"),
        (["features=log:4:8"], {"samples": 2}, "features is log:4:8; accepted are values"),
        (["seed=0,1"], {"halving": 2, "halving_steps": 7}, "halving_steps is 7; accepted are mul"),
        (["seed=0,1"], {"halving": 2, "halving_steps": 1000}, "halving_steps is 1000; accepted"),
        (["seed=0,1"], {"samples": 3}, "samples is 3; accepted where only the seed is swept over"),
        (["seed=0,1"], {"search_seed": 3}, "search_seed is 3; accepted without samples is 0"),
        (["learning_rate=1e-3,1e-3"], {}, "learning_rate has 0.001 twice; accepted are"),
        (["weight_decay=0.1,0.2"], {}, "weight_decay is 0.1; accepted with optimizer adam is 0"),
    ],
)
def test_what_a_sweep_refuses_is_named_as_the_user_named_it(over, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        _sweep(*over, **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Uniform(NAN, 1), "low is nan"),
        (lambda: LogUniform(0, 1), "low is 0"),
        (lambda: Halving(2.5, 10), "factor is 2.5; accepted are integers >= 2"),
        (lambda: Halving(2, 0.5), "min_steps is 0.5; accepted are integers >= 1"),
        (lambda: random_search({"a": [1, 2]}, 2.5), "samples is 2.5; accepted are integers >= 1"),
        (lambda: grid({"a": [1, 1]}), "a has 1 twice; accepted are distinct values"),
    ],
)
def test_bounds_of_a_search_hold_in_python(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def _claimed(tmp_path, **changed):
    chosen = settings.resolve({"task": "memorization", "num_steps": 40}, None)
    directory = RunDirectory(tmp_path / "run")
    directory.claim(chosen, memorization(**chosen.task_settings))
    config = json.loads(directory.config.read_text())
    for part, values in changed.items():
        config[part] |= values
    directory.config.write_text(json.dumps(config))
    return directory


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model_settings": {"kernel_size": 1}}, "kernel_size is 1; accepted"),
        ({"model_settings": {"dropout": 1.0}}, "dropout is 1.0; accepted"),
        ({"train_settings": {"warmup_steps": -1}}, "warmup_steps is -1; accepted"),
        ({"train_settings": {"weight_decay": 0.1}}, "weight_decay is 0.1; accepted"),
        ({"task_settings": {"batch_size": 0}}, "batch_size is 0; accepted"),
    ],
)
def test_a_setting_of_a_file_that_fails_names_the_file(changed, message, tmp_path):
    directory = _claimed(tmp_path, **changed)
    with pytest.raises(ValueError, match=rf"run/config.json is damaged: {message}"):
        directory.read_config()


def test_a_task_that_cannot_be_made_from_a_file_names_the_file(tmp_path):
    directory = _claimed(tmp_path)
    config = json.loads(directory.config.read_text())
    config |= {"task": "digits", "task_settings": settings.task_settings("digits")}
    config["task_settings"]["batch_size"] = 9999
    directory.config.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"run/config.json: batch_size is 9999; accepted are 1 to"):
        runs.open(directory)


def test_every_number_of_training_has_bounds():
    """A new one is to be looked at, too."""
    kinds = {field.name: field.type for field in dataclasses.fields(TrainSettings)}
    numbers = {name for name, kind in kinds.items() if kind in (int, float, int | None)}
    assert numbers <= {name for change, _ in TRAINING for name in change} | {
        "checkpoint_every",
        "steps_per_call",
    }

import dataclasses
import functools
import os
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import pytest

from tlstm_jax import training, zoo
from tlstm_jax.overrides import override
from tlstm_jax.sweeps import members
from tlstm_jax.tasks import images
from tlstm_jax.tasks.char_lm import char_lm
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training import Overrides
from tlstm_jax.training.settings import TrainSettings

SETTINGS = TrainSettings(
    num_steps=20, eval_every=10, checkpoint_every=20, steps_per_call=10, optimizer="adamw"
)
SEEDS = (0, 1, 1)
TRAIN = {
    "learning_rate": (1e-3, 3e-3, 1e-2),
    "clip_norm": (1.0, 0.3, 2.0),
    "weight_decay": (0.0, 0.1, 0.01),
}
# Of the model: (setting, name in override, values), part by part.
CASES = {
    "lstm": ({"init": ("forget_bias", "forget_bias", (0.0, 1.0, 2.5))}, {"dropout": 0.3}),
    "tlstm": (
        {
            "init": ("input_scale", "input_scale", (0.5, 1.0, 2.0)),
            "apply": ("dropout", "output_rate", (0.1, 0.25, 0.6)),
        },
        {"normalization": "channel"},
    ),
    "bn_lstm": ({"init": ("scale", "scale", (0.05, 0.1, 0.2))}, {}),
    "full_urnn": ({}, {}),
}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_bytes(b"the quick brown fox jumps over the lazy dog. " * 40)
    return path


@functools.cache
def _task(name, text):
    return {
        "memorization": lambda: memorization(
            2, 3, batch_size=4, eval_samples=10, eval_batch_size=4
        ),
        "pdigits": lambda: images.pdigits(batch_size=4, eval_batch_size=100),
        "char_lm": lambda: char_lm(text, batch_size=3, segment_length=7, eval_batch_size=2),
    }[name]()


def _network(task, model, **settings):
    sizes = {"input_size": task.input_size, "output_size": task.output_size, "tokens": task.tokens}
    return zoo.make_network(model, features=6, **sizes, **settings)


def _runs(model, task):
    """The network of all members and their overrides, and each as it is alone."""
    swept, settings = CASES[model]
    parts = {part: {name: values} for part, (_, name, values) in swept.items()}
    alone = []
    for n, seed in enumerate(SEEDS):
        own = {setting: values[n] for setting, _, values in swept.values()}
        train = {name: values[n] for name, values in TRAIN.items()}
        alone.append(
            (
                _network(task, model, **{**settings, **own}),
                dataclasses.replace(SETTINGS, seed=seed, **train),
            )
        )
    first = alone[0][0]
    return first, Overrides(**{"train": TRAIN, **parts}), alone


def _double(tree):
    def cast(leaf):
        return leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else jnp.copy(leaf)

    return jax.tree.map(cast, tree)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("lstm", "memorization"),
        ("tlstm", "char_lm"),
        ("bn_lstm", "pdigits"),
        ("full_urnn", "pdigits"),
    ],
)
def test_members_are_the_runs_alone_after_twenty_steps_in_double_precision(x64, text, model, name):
    task = _task(name, text)
    settings = dataclasses.replace(SETTINGS, eval_every=20, steps_per_call=20)
    network, overrides, alone = _runs(model, task)
    overrides = Overrides(
        *(part and {k: jnp.asarray(v) for k, v in part.items()} for part in overrides)
    )
    start = members.init_members(network, task, settings, jnp.array(SEEDS), overrides)
    states, steps = members.train_members(
        network, task, settings, _double(start), jnp.ones(3, bool), task.data, overrides
    )
    assert steps["good"].all()
    for n, (own, own_settings) in enumerate(alone):
        own_settings = dataclasses.replace(own_settings, eval_every=20, steps_per_call=20)
        state = training.init_state(own, task, own_settings, jax.random.key(SEEDS[n]))
        chex.assert_trees_all_close(members.member(start, n).params, state.params, rtol=1e-6)
        # From the same parameters: initial ones are float32, which each program rounds differently.
        state = _double(state._replace(params=members.member(start, n).params))
        state, _ = training.train_call(own, task, own_settings, state, task.data)
        own_params = members.member(states, n).params
        scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(state.params))
        chex.assert_trees_all_close(own_params, state.params, rtol=1e-9, atol=1e-9 * scale)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "name"), [("lstm", "char_lm"), ("tlstm", "memorization")])
def test_reports_of_members_are_those_of_the_runs_alone(text, model, name):
    task = _task(name, text)
    network, overrides, alone = _runs(model, task)
    together = list(members.fit_members(network, task, SETTINGS, seeds=SEEDS, overrides=overrides))
    for n, (own, own_settings) in enumerate(alone):
        reports = list(training.fit(own, task, own_settings))
        for of_members, report in zip(together, reports, strict=True):
            member = of_members[n]
            for part in ("train", "valid"):
                assert getattr(member, part) == pytest.approx(getattr(report, part), rel=1e-4)
            assert member.progress == dataclasses.replace(
                report.progress, best_metric=pytest.approx(report.progress.best_metric, rel=1e-4)
            )
            assert (member.improved, member.stop, member.finished) == (
                report.improved,
                report.stop,
                report.finished,
            )
        chex.assert_trees_all_close(
            member.state.params, reports[-1].state.params, rtol=1e-4, atol=1e-6
        )


def _irnn(task):
    """A network that a large learning rate lets diverge."""
    return _network(task, "irnn")


@pytest.mark.slow
def test_a_member_that_diverges_is_reported_and_the_others_do_not_notice():
    task = _task("memorization", None)
    network, huge = _irnn(task), 1e30

    def fit(rates):
        return list(
            members.fit_members(
                network,
                task,
                SETTINGS,
                seeds=(3, 4, 5),
                overrides=Overrides(train={"learning_rate": rates}),
            )
        )

    good, one_bad = fit((1e-3, 1e-3, 2e-3)), fit((1e-3, huge, 2e-3))
    (diverged,) = [r[1] for r in one_bad if 1 in r and r[1].stop]
    with pytest.raises(training.NonFiniteError) as alone:
        list(training.fit(network, task, dataclasses.replace(SETTINGS, learning_rate=huge, seed=4)))
    assert diverged.stop.endswith(f"not finite at step {alone.value.step}")
    assert diverged.stop.startswith(members.DIVERGED)
    assert diverged.finished and diverged.state is None
    for n in (0, 2):
        chex.assert_trees_all_equal(one_bad[-1][n].state.params, good[-1][n].state.params)
    assert sorted(one_bad[-1]) == [0, 2]


@pytest.mark.slow
def test_a_member_that_runs_out_of_patience_stays_what_it_is():
    task = _task("memorization", None)
    settings = dataclasses.replace(
        SETTINGS, num_steps=80, checkpoint_every=80, patience=2, optimizer="adam"
    )
    network = _network(task, "lstm")
    rates = (1e-12, 1e-2)
    reports = list(
        members.fit_members(
            network,
            task,
            settings,
            seeds=(0, 0),
            overrides=Overrides(train={"learning_rate": rates}),
        )
    )
    stuck = [r[0] for r in reports if 0 in r][-1]
    alone = list(training.fit(network, task, dataclasses.replace(settings, learning_rate=1e-12)))
    assert stuck.stop == alone[-1].stop and "no improvement" in stuck.stop
    assert stuck.progress == alone[-1].progress
    assert 0 not in reports[-1] and reports[-1][1].progress.step > stuck.progress.step


@pytest.mark.slow
def test_members_resume_from_saved_states_as_if_they_had_not_stopped():
    task = _task("memorization", None)
    network, overrides, _ = _runs("lstm", task)
    fit = functools.partial(
        members.fit_members, network, task, SETTINGS, seeds=SEEDS, overrides=overrides
    )
    whole = list(fit())
    first = list(fit(until=10))
    assert len(first) == 1 and not first[0][0].finished
    saved = [(first[0][n].state, first[0][n].progress) for n in range(3)]
    rest = list(fit(saved=saved))
    for n in range(3):
        chex.assert_trees_all_equal(rest[-1][n].state.params, whole[-1][n].state.params)
        assert rest[-1][n].progress == whole[-1][n].progress
    some = list(fit(saved=saved, idle=[False, True, False]))
    assert all(sorted(reports) == [0, 2] for reports in some)
    chex.assert_trees_all_equal(some[-1][2].state.params, whole[-1][2].state.params)


def test_a_stop_is_asked_for_after_every_call_and_keeps_all_states():
    task = _task("memorization", None)
    network, overrides, _ = _runs("lstm", task)
    reports = list(
        members.fit_members(
            network,
            task,
            dataclasses.replace(SETTINGS, steps_per_call=5),
            seeds=SEEDS,
            overrides=overrides,
            should_stop=lambda: "enough",
        )
    )
    assert len(reports) == 1
    for report in reports[0].values():
        assert report.stop == "enough" and not report.finished
        assert int(report.state.step) == 5


@pytest.mark.slow(but=["lstm", "tlstm", "gru"])
@pytest.mark.parametrize("name", list(zoo.MODELS))
def test_traced_settings_of_a_model_start_as_its_settings_do(name):
    traced = {k: n for k, (part, n) in zoo.traced_settings(name).items() if part == "init"}
    sizes = {"output_size": 2, "tokens": False, "features": 4}
    sizes["input_size"] = zoo.example_input_size(name, 3)
    key = jax.random.key(0)
    for layers in ({}, {"num_layers": 2}):
        if "num_layers" in zoo.own_settings(name) and layers:
            continue
        network = zoo.make_network(name, **sizes, **layers)
        for setting, own in traced.items():
            alone = zoo.make_network(name, **sizes, **layers, **{setting: 0.7}).init(key)
            together = override(network, {own: jnp.float32(0.7)}).init(key)
            chex.assert_trees_all_close(together, alone, rtol=1e-6)
            start = network.init(key)
            moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), start, alone)
            assert any(jax.tree.leaves(moved)), f"{setting} of {name} changes nothing"


@pytest.mark.slow
def test_members_over_eight_devices_are_those_of_one():
    code = """
import jax
import numpy as np
from tlstm_jax import zoo
from tlstm_jax.sweeps import members
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training import Overrides
from tlstm_jax.training.settings import TrainSettings

task = memorization(2, 3, batch_size=4, eval_samples=8, eval_batch_size=4)
sizes = {"input_size": task.input_size, "output_size": task.output_size, "tokens": True}
network = zoo.make_network("tlstm", features=4, **sizes)
settings = TrainSettings(num_steps=4, eval_every=2, checkpoint_every=4, steps_per_call=2)
ends = []
for devices in (jax.devices(), jax.devices()[:1]):
    overrides = Overrides(train={"learning_rate": [1e-3, 2e-3, 3e-3, 4e-3, 5e-3]})
    *_, last = members.fit_members(
        network, task, settings, seeds=range(5), overrides=overrides, devices=devices
    )
    ends.append([jax.tree.map(np.asarray, last[n].state.params) for n in range(5)])
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *ends)
print(len(jax.devices()), "devices agree")
"""
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert "8 devices agree" in ran.stdout, ran.stderr

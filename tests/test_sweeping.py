import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlstm_jax import LSTM, TensorizedLSTM, training, zoo
from tlstm_jax.network import Network
from tlstm_jax.sweeps.groups import plan
from tlstm_jax.sweeps.search import Halving, LogUniform
from tlstm_jax.sweeps.sweeping import sweep
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training.settings import TrainSettings

SETTINGS = TrainSettings(num_steps=8, eval_every=2, checkpoint_every=4, steps_per_call=2)


@functools.cache
def _task():
    return memorization(2, 3, batch_size=4, eval_samples=30, eval_batch_size=10)


def _alone(model, settings, **model_settings):
    task = _task()
    sizes = {"input_size": task.input_size, "output_size": task.output_size, "tokens": task.tokens}
    network = zoo.make_network(model, **sizes, **model_settings)
    return list(training.fit(network, task, settings))


@pytest.mark.slow
def test_a_sweep_gives_the_curves_of_its_runs_alone():
    seen = []
    results = sweep(
        _task(),
        "lstm",
        {"learning_rate": [1e-3, 1e-2], "features": [4, 5], "seed": range(2)},
        settings=SETTINGS,
        on_reports=lambda reports: seen.append(sorted(reports)),
    )
    assert len(results.points) == 8 and results.curves.shape == (8, 4)
    assert results.units.tolist() == [8, 16, 24, 32]
    assert seen == [[0, 1, 4, 5]] * 4 + [[2, 3, 6, 7]] * 4
    assert results.stop == ["all steps done"] * 8
    for n in (2, 5):
        point = results.points[n]
        train = {k: v for k, v in point.items() if k != "features"}
        alone = _alone("lstm", dataclasses.replace(SETTINGS, **train), features=point["features"])
        valid = [report.valid["accuracy"] for report in alone]
        np.testing.assert_allclose(results.curves[n], valid, atol=0.02)  # of 60 scored symbols
        assert results.values("learning_rate")[n] == point["learning_rate"]
    np.testing.assert_array_equal(results.best_metric, results.curves.max(axis=1))
    best = max(results.settings(), key=lambda setting: setting.mean)
    assert results.best == max(best.members, key=lambda n: results.best_metric[n])


@pytest.mark.slow
def test_the_best_parameters_of_a_sweep_are_those_of_its_best_evaluation():
    results = sweep(
        _task(), "lstm", {"learning_rate": [1e-2, 1e-1], "seed": [0, 1]}, settings=SETTINGS
    )
    task, point = _task(), results.points[results.best]
    step = int(results.curves[results.best].argmax() + 1) * SETTINGS.eval_every
    state = training.init_state(results.network, task, SETTINGS, jax.random.key(point["seed"]))
    metrics = training.evaluate(
        results.network,
        task,
        results.params,
        results.model_state,
        task.data,
        split="valid",
        key=training.eval_key(state._replace(step=jax.numpy.int32(step))),
    )
    assert metrics["accuracy"] == pytest.approx(results.best_metric[results.best], abs=0.02)


@pytest.mark.slow
def test_chunks_and_halving_change_who_is_trained_but_not_what_it_learns():
    space = {"learning_rate": [1e-4, 1e-3, 1e-2, 3e-2]}
    whole = sweep(_task(), "lstm", space, settings=SETTINGS, model_settings={"features": 4})
    part = sweep(_task(), "lstm", space, settings=SETTINGS, model_settings={"features": 4}, chunk=3)
    np.testing.assert_allclose(part.curves, whole.curves, atol=0.02)
    halved = sweep(
        _task(),
        "lstm",
        space,
        settings=SETTINGS,
        model_settings={"features": 4},
        halving=Halving(2, 2),
    )
    # 4 members to step 2, 2 to step 4, 1 to the end.
    assert sorted((~np.isnan(halved.curves)).sum(axis=1)) == [1, 1, 2, 4]
    np.testing.assert_allclose(
        halved.curves, np.where(np.isnan(halved.curves), np.nan, whole.curves), atol=0.02
    )
    ended = sorted(halved.stop)
    assert ended == ["all steps done", *["dropped after 2 steps"] * 2, "dropped after 4 steps"]
    survivor = halved.stop.index("all steps done")
    assert whole.curves[survivor, 0] >= np.sort(whole.curves[:, 0])[1]


@pytest.mark.slow
def test_a_cell_can_be_swept_over_its_floats():
    cell = TensorizedLSTM(4, (2,), forget_spread=0.0)
    results = sweep(_task(), cell, {"forget_bias": [0.0, 4.0]}, settings=SETTINGS)
    assert results.network == Network(cell, _task().input_size, _task().output_size, tokens=True)
    learned = np.asarray(results.params["model"]["cross_layer"]["bias"][8:12])
    np.testing.assert_allclose(learned, results.points[results.best]["forget_bias"], atol=0.1)


@dataclasses.dataclass(frozen=True)
class _Own:
    """A cell of the user's own whose steps read its bias, too."""

    features: int
    forget_bias: float = 1.0
    delay = 0
    causal = True

    def init(self, key, input_size):
        kernel = jax.random.normal(key, (self.features, self.features))
        return {"kernel": kernel, "bias": jnp.full((self.features,), self.forget_bias)}

    def init_carry(self, batch_size, dtype=jnp.float32):
        return jnp.zeros((batch_size, self.features), dtype)

    def step(self, params, h, x):
        one_hot = jax.nn.one_hot(x, self.features, dtype=h.dtype)
        bias = jnp.broadcast_to(params["bias"] - self.forget_bias, h.shape)
        h = jnp.tanh((h + one_hot) @ params["kernel"] + bias)
        return h, h

    init_token_carry, token_step = init_carry, step


@pytest.mark.slow
def test_what_steps_of_a_cell_read_too_cannot_be_swept():
    results = sweep(_task(), _Own(6), {"learning_rate": [1e-4, 1e-1]}, settings=SETTINGS)
    assert (results.curves[0] != results.curves[1]).any()
    with pytest.raises(ValueError, match=r"^forget_bias cannot be swept for a _Own; accepted are"):
        sweep(_task(), _Own(6), {"forget_bias": [0.0, 1.0]}, settings=SETTINGS)


def test_random_search_takes_ranges():
    results = sweep(
        _task(),
        "elman",
        {"learning_rate": LogUniform(1e-4, 1e-2), "seed": [0, 1]},
        settings=SETTINGS,
        samples=2,
        model_settings={"features": 4},
    )
    assert len(results.points) == 4
    assert len(set(results.values("learning_rate"))) == 2


@pytest.mark.parametrize(
    ("model", "space", "message"),
    [
        ("lstm", {"widht": [1]}, "widht is not a setting of model lstm"),
        ("lstm", {"learning_rate": [1e-3, -1.0]}, "learning_rate is -1.0"),
        ("nobody", {"seed": [0]}, "model is 'nobody'"),
        (LSTM(4), {"features": [4, 8]}, "features cannot be swept for a LSTM"),
        (LSTM(4), {"dtype": ["bfloat16"]}, "dtype cannot be swept for a LSTM"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_anything_is_trained(model, space, message):
    with pytest.raises(ValueError, match=message):
        sweep(_task(), model, space, settings=SETTINGS)


def test_a_sweep_of_which_nothing_is_left_says_so():
    with pytest.raises(ValueError, match=r"^accuracy is NaN for all members; accepted is"):
        sweep(_task(), "irnn", {"learning_rate": [1e30]}, settings=SETTINGS)


def test_runs_are_planned_by_what_is_compiled():
    points = [
        {"dropout": dropout, "learning_rate": rate, "cell": cell}
        for dropout in (0.0, 0.1, 0.2)
        for rate in (1e-3, 1e-2)
        for cell in ("gru", "lstm")
    ]
    made = []

    def make(n):
        made.append(n)
        return _task(), None, SETTINGS

    groups = plan(points, make, lambda n: {"dropout": ("apply", "output_rate")})
    assert [group.members for group in groups] == [(0, 2), (1, 3), (4, 6, 8, 10), (5, 7, 9, 11)]
    assert made == [0, 1, 4, 5]
    # Without dropout there is nothing to be replaced.
    assert groups[0].overrides.apply == {}
    assert groups[2].overrides.apply == {"output_rate": (0.1, 0.1, 0.2, 0.2)}
    assert groups[2].overrides.train == {"learning_rate": (1e-3, 1e-2, 1e-3, 1e-2)}
    assert groups[3].seeds == (SETTINGS.seed,) * 4


@pytest.mark.slow
def test_the_picture_of_a_sweep_has_a_panel_for_each_setting_and_one_for_the_curves(tmp_path):
    results = sweep(
        _task(),
        "lstm",
        {"learning_rate": [1e-3, 1e-2], "features": [3, 4], "seed": [0, 1]},
        settings=SETTINGS,
    )
    figure = results.plot()
    assert [axis.get_xlabel() for axis in figure.axes] == [
        "learning_rate",
        "features",
        "samples seen",
    ]
    assert len(figure.axes[-1].lines) == 4  # means over seeds
    assert figure.axes[0].get_xscale() == "log" and figure.axes[1].get_xscale() == "linear"
    figure.savefig(tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").stat().st_size > 5000

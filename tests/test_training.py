import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tlstm_jax import training, zoo
from tlstm_jax.tasks import images
from tlstm_jax.tasks.char_lm import char_lm
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training import checkpointing, evaluation
from tlstm_jax.training import progress as progress_of
from tlstm_jax.training.settings import TrainSettings

SMALL = TrainSettings(
    num_steps=12, eval_every=4, checkpoint_every=4, steps_per_call=2, learning_rate=1e-2
)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_bytes(b"the quick brown fox jumps over the lazy dog. " * 40)
    return path


@functools.cache  # so that equal runs compile once
def _make(name, text, model="lstm"):
    task = {
        "memorization": lambda: memorization(
            2, 3, batch_size=4, eval_samples=10, eval_batch_size=4
        ),
        "pdigits": lambda: images.pdigits(batch_size=4, eval_batch_size=100),
        "char_lm": lambda: char_lm(text, batch_size=3, segment_length=7, eval_batch_size=2),
    }[name]()
    settings = {"features": 6}
    if model.endswith("tlstm"):
        settings |= {"tensor_shape": (2, 2), "normalization": "channel"}
    if model == "stack of tlstm":
        model, settings = "tlstm", settings | {"num_layers": 2, "residual": True, "dropout": 0.2}
    sizes = {"input_size": task.input_size, "output_size": task.output_size, "tokens": task.tokens}
    return task, zoo.make_network(model, **sizes, **settings)


def _run(network, task, settings, **kwargs):
    """All reports; the states among them are copied, since the next call donates them."""
    return [
        report._replace(state=jax.tree.map(jnp.copy, report.state))
        for report in training.fit(network, task, settings, **kwargs)
    ]


def _stopped_after(calls, network, task, settings):
    """The last report of a run that is asked to stop after so many calls."""
    answers = iter([None] * (calls - 1) + ["enough"])
    return _run(network, task, settings, should_stop=lambda: next(answers))[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("memorization", "lstm"),
        ("pdigits", "lstm"),
        ("char_lm", "tlstm"),
        ("char_lm", "stack of tlstm"),  # a late layer, dropout
        ("char_lm", "bn_lstm"),  # running statistics
        ("memorization", "full_urnn"),  # the Cayley step, a learned carry
    ],
)
def test_resumed_at_any_call_it_ends_bit_for_bit_the_same(name, model, text, tmp_path):
    task, network = _make(name, text, model)
    reports = _run(network, task, SMALL)
    assert [r.progress.step for r in reports] == [2, 4, 6, 8, 10, 12]
    assert reports[-1].stop == "all steps done" and reports[-1].finished
    like = jax.eval_shape(lambda: reports[-1].state)
    for calls in (1, 3, 5):
        stopped = _stopped_after(calls, network, task, SMALL)
        assert stopped.progress == reports[calls - 1].progress
        assert stopped.stop == "enough" and not stopped.finished
        directory = tmp_path / f"{stopped.progress.step}"
        checkpointing.save(directory, stopped.state, stopped.progress)
        state, progress = checkpointing.restore(directory, like)
        assert progress == stopped.progress
        end = _run(network, task, SMALL, state=state, progress=progress)[-1]
        assert end.progress == reports[-1].progress
        chex.assert_trees_all_equal(end.state, reports[-1].state)


def test_reports_have_the_state_where_the_next_call_waits_for_them(text):
    task, network = _make("memorization", text)
    settings = dataclasses.replace(SMALL, eval_every=8, checkpoint_every=6)
    reports = _run(network, task, settings)
    there = {r.progress.step for r in reports if r.state is not None}
    assert there == {6, 8, 12}  # checkpoint, evaluation, both
    assert all(r.state.step == r.progress.step for r in reports if r.state is not None)
    assert {r.progress.step for r in reports if r.valid} == {8, 12}
    assert [r.progress.step for r in reports] == [2, 4, 6, 8, 10, 12]


@pytest.mark.slow
def test_a_stream_resumed_without_its_carry_ends_otherwise(text):
    task, network = _make("char_lm", text, "tlstm")
    first, last = _stopped_after(1, network, task, SMALL), _run(network, task, SMALL)[-1]
    assert any(np.any(x) for x in jax.tree.leaves(first.state.carry))
    state = first.state._replace(carry=jax.tree.map(jnp.zeros_like, first.state.carry))
    end = _run(network, task, SMALL, state=state, progress=first.progress)[-1]
    kernel = end.state.params["readout"]["kernel"]
    assert not np.array_equal(kernel, last.state.params["readout"]["kernel"])


def test_one_step_is_the_optimizers_step_on_the_tasks_batch(text):
    task, network = _make("memorization", text)
    settings = dataclasses.replace(SMALL, steps_per_call=1, clip_norm=0.1, warmup_steps=3)
    step = jax.jit(functools.partial(training.train_step, network, task, settings))
    state = training.init_state(network, task, settings, jax.random.key(3))
    clock = jax.tree.map(lambda x: x + 1 if x.dtype == jnp.int32 else x, state.opt_state[1][1])
    state = state._replace(opt_state=(state.opt_state[0], (state.opt_state[1][0], clock)))
    new, metrics = step(state, ())
    batch = task.train_batch((), jax.random.fold_in(state.key, 1), jnp.int32(0), network.delay)

    def loss(params):
        _, logits, _, _ = network.apply(params, (), network.init_carry(4), batch.inputs)
        nll = optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets)
        return jnp.sum(nll * batch.mask.astype(nll.dtype)) / batch.mask.sum().astype(nll.dtype)

    value, grads = jax.jit(jax.value_and_grad(loss))(state.params)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-6)
    np.testing.assert_allclose(metrics["grad_norm"], optax.tree.norm(grads), rtol=1e-5)
    assert optax.tree.norm(grads) > 0.1  # so that clipping is seen
    clipped = jax.tree.map(lambda g: g * (0.1 / optax.tree.norm(grads)), grads)
    # Adam's first step is the gradient's sign times the rate, here the warm-up's second of three.
    change = jax.tree.map(jnp.subtract, new.params, state.params)
    large = jax.tree.map(lambda g: jnp.abs(g) > 1e-4, clipped)
    expected = jax.tree.map(lambda g: -jnp.sign(g) * 1e-2 / 3, clipped)
    jax.tree.map(
        lambda c, e, m: np.testing.assert_allclose(c[m], e[m], rtol=1e-3), change, expected, large
    )
    chex.assert_trees_all_close(
        new.opt_state[1][0].mu, jax.tree.map(lambda g: 0.1 * g, clipped), rtol=1e-4
    )
    assert new.step == 1


@pytest.mark.slow
def test_steps_per_call_change_nothing(text):
    task, network = _make("memorization", text)
    ends = [_run(network, task, dataclasses.replace(SMALL, steps_per_call=n))[-1] for n in (1, 4)]
    chex.assert_trees_all_close(ends[0].state.params, ends[1].state.params, rtol=1e-5, atol=1e-6)
    assert ends[0].valid == pytest.approx(ends[1].valid, rel=1e-4)


def test_one_compile_a_configuration(text):
    task, network = _make("memorization", text)
    settings = dataclasses.replace(SMALL, seed=5)
    before = training.train_call._cache_size(), evaluation._eval_step._cache_size()
    _run(network, task, settings)
    _run(network, task, settings)
    after = training.train_call._cache_size(), evaluation._eval_step._cache_size()
    assert after[0] == before[0] + 1
    assert after[1] <= before[1] + 1


@pytest.mark.slow
def test_the_seed_is_all_the_chance_there_is(text):
    task, network = _make("memorization", text)
    a, b, c = (_run(network, task, dataclasses.replace(SMALL, seed=s))[-1] for s in (1, 1, 2))
    chex.assert_trees_all_equal(a.state.params, b.state.params)
    assert a.valid == b.valid != c.valid


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize("name", ["pdigits", "char_lm"])
def test_an_evaluation_does_not_depend_on_its_batches(name, split, text):
    task, network = _make(name, text)
    params, model_state = network.init(jax.random.key(0))
    results = []
    for size in (7, 50) if name == "pdigits" else (1, 1):
        task = dataclasses.replace(task, eval_batch_size=size)
        if name == "char_lm":  # segments of the stream, instead
            task = dataclasses.replace(task, segment_length=5 + 10 * len(results))
        results.append(
            training.evaluate(
                network, task, params, model_state, task.data, split=split, key=jax.random.key(0)
            )
        )
    assert results[0] == pytest.approx(results[1], rel=1e-5)


def test_the_loss_of_an_untrained_network_is_near_chance(text):
    task, network = _make("char_lm", text)
    params, model_state = network.init(jax.random.key(0))
    params["readout"]["kernel"] *= 0
    metrics = training.evaluate(
        network, task, params, model_state, task.data, split="valid", key=jax.random.key(0)
    )
    assert metrics["bpc"] == pytest.approx(np.log2(task.output_size), rel=1e-5)


def test_a_non_finite_loss_names_the_step(text):
    task, network = _make("memorization", text)
    state = training.init_state(network, task, SMALL, jax.random.key(0))

    def poisoned(data, key, step, delay):
        batch = type(task).train_batch(task, data, key, step, delay)
        return batch._replace(
            inputs=jnp.where(step == 6, jnp.full_like(batch.inputs, 99), batch.inputs)
        )

    broken = dataclasses.replace(task, eval_samples=11)  # another task, for the compilation cache
    object.__setattr__(broken, "train_batch", poisoned)
    seen = []
    with pytest.raises(training.NonFiniteError, match="not finite at step 7") as e:
        for report in training.fit(network, broken, SMALL, state=state):
            seen.append(report.progress.step)
    assert e.value.step == 7
    assert seen == [2, 4, 6]


def _judged(metrics, **task):
    """Progress after evaluations with these metrics, 10 units each."""
    fields = {"metric": "accuracy", "maximize": True, "target": 0.99} | task
    judge = type("Judge", (), fields)
    progress, improved = training.Progress(), []
    for i, metric in enumerate(metrics, start=1):
        progress = dataclasses.replace(progress, step=i, units=10 * i)
        progress, better = progress_of.judge(judge, progress, metric)
        improved.append(better)
    return progress, improved


def test_units_to_target_are_those_at_the_first_of_two_in_a_row():
    progress, _ = _judged([0.5, 0.995, 0.98, 0.99, 0.999, 0.5])
    assert progress.units_to_target == 40
    assert _judged([0.5, 0.995, 0.98, 0.99])[0].units_to_target is None
    assert _judged([1.0, 1.0])[0].units_to_target == 10
    assert _judged([1.0, 1.0], target=None)[0].units_to_target is None


def test_the_best_is_the_first_of_equals_and_never_nan():
    progress, improved = _judged([0.5, float("nan"), 0.7, 0.7, 0.6])
    assert improved == [True, False, True, False, False]
    assert (progress.best_metric, progress.best_step, progress.evals_since_best) == (0.7, 3, 2)
    progress, improved = _judged([3.0, 2.0, 2.5], maximize=False, target=None)
    assert improved == [True, True, False] and progress.best_metric == 2.0


@pytest.mark.slow
def test_patience_and_target_end_a_run(text):
    task, network = _make("memorization", text)
    frozen = dataclasses.replace(SMALL, num_steps=100, learning_rate=1e-12, patience=3)
    assert _run(network, task, frozen)[-1].stop == "no improvement in 3 evaluations"
    easy = dataclasses.replace(task, eval_samples=4)
    object.__setattr__(easy, "target", 0.0)
    end = _run(network, easy, dataclasses.replace(SMALL, stop_at_target=True))[-1]
    assert (end.stop, end.progress.step, end.progress.units_to_target) == ("target reached", 8, 16)
    settings = dataclasses.replace(SMALL, stop_at_target=True)
    assert _run(network, easy, settings, state=end.state, progress=end.progress) == []


def test_a_request_to_stop_is_heeded_at_the_next_call_and_finishes_nothing(text):
    task, network = _make("memorization", text)
    reports = _run(network, task, SMALL, should_stop=lambda: "enough")
    assert len(reports) == 1
    assert (reports[0].stop, reports[0].finished) == ("enough", False)


def test_learning_rates():
    cosine = TrainSettings(learning_rate=2.0, schedule="cosine", warmup_steps=10, num_steps=110)
    rate = dataclasses.replace(cosine, steps_per_call=1, eval_every=1, checkpoint_every=1)
    rate = rate.learning_rate_schedule()
    assert [float(rate(i)) for i in (0, 5, 10, 60, 110)] == pytest.approx([0, 1, 2, 1, 0], abs=1e-6)
    constant = TrainSettings(learning_rate=2.0, warmup_steps=10).learning_rate_schedule()
    assert [float(constant(i)) for i in (0, 5, 10, 999)] == pytest.approx([0, 1, 2, 2])


@pytest.mark.slow
def test_adamw_decays_weights(text):
    task, network = _make("memorization", text)
    ends = [
        _run(network, task, dataclasses.replace(SMALL, optimizer="adamw", weight_decay=w))[-1]
        for w in (0.0, 1.0)
    ]
    norms = [float(optax.tree.norm(end.state.params)) for end in ends]
    assert norms[1] < 0.99 * norms[0]


def test_a_model_learns_to_memorize():
    """Three of four symbols, far beyond chance (25 %)."""
    task = memorization(3, 4, batch_size=15, eval_samples=300)
    sizes = {"input_size": task.input_size, "output_size": task.output_size, "tokens": True}
    network = zoo.make_network(
        "tlstm", **sizes, features=32, tensor_shape=(2,), normalization="channel"
    )
    settings = TrainSettings(
        num_steps=1000, learning_rate=5e-3, eval_every=50, steps_per_call=50, stop_at_target=True
    )
    *_, last = training.fit(network, task, settings)
    assert last.stop == "target reached", last.valid


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_steps": 0}, "num_steps is 0; accepted are integers >= 1"),
        ({"eval_every": 5}, "eval_every is 5; accepted are multiples of steps_per_call, 2"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd'; accepted are adam, adamw"),
        ({"schedule": "linear"}, "schedule is 'linear'; accepted are constant, cosine"),
        ({"schedule": "cosine", "warmup_steps": 12}, "warmup_steps is 12; accepted are 0 to"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"patience": 0}, "patience is 0; accepted are None and integers >= 1"),
    ],
)
def test_settings_that_make_no_sense(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **change)

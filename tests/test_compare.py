"""The comparison of all models: its members, its rows, its table."""

import json

import jax
import pytest

from tlstm_jax import training, zoo
from tlstm_jax.scripts.compare import members as compare
from tlstm_jax.scripts.compare import rows as program
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training.settings import TrainSettings

TASK = {"num_symbols": 2, "alphabet_size": 3, "batch_size": 4, "eval_samples": 250}
COLUMN = compare.Column("two of three", "memorization", TASK, 20)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(compare, "COLUMNS", (COLUMN,))
    monkeypatch.setattr(compare, "STEPS_PER_CALL", 10)


def call(workdir, *models, parameters=500):
    program.compare(models, workdir, parameters=parameters, budget=1.0, jobs=1)


@pytest.mark.parametrize(("name", "even"), [("lstm", 68), ("urnn", None), ("tlstm", None)])
def test_the_width_comes_near_the_number_of_parameters(name, even):
    channels = compare.choose_channels(name, 20_000)
    assert even in (None, channels) and channels % 2 == 0

    def size(channels):
        sizes = {"input_size": 1, "output_size": 10, "tokens": False}
        return zoo.count_parameters(zoo.make_network(name, features=channels, **sizes))

    distances = [abs(size(channels + more) - 20_000) for more in (-2, 0, 2)]
    assert min(distances) == distances[1]


@pytest.mark.slow
def test_a_member_is_the_same_run_alone(small):
    task = memorization(**TASK)
    sizes = {"input_size": task.input_size, "output_size": task.output_size, "tokens": True}
    network = zoo.make_network("gru", features=6, **sizes)
    column = compare.train_members(network, task, 20)
    rate = column["learning_rate"]
    for seed, expected in zip(compare.SEEDS, column["test"], strict=True):
        settings = TrainSettings(
            num_steps=20,
            learning_rate=rate,
            steps_per_call=20,
            eval_every=20,
            checkpoint_every=20,
            seed=seed,
        )
        (report,) = training.fit(network, task, settings)
        state = report.state
        alone = training.evaluate(
            network,
            task,
            state.params,
            state.model_state,
            task.data,
            split="test",
            key=training.eval_key(state),
        )
        assert alone["accuracy"] == pytest.approx(expected, abs=0.005)  # one symbol of 500, or two
    assert column["units"] == 80


def test_rows_are_written_once_and_make_the_table(small, tmp_path, capsys, monkeypatch):
    for name in ("elman", "gru"):
        assert compare.train_row(tmp_path / f"{name}.json", 500, 1.0) == name
    monkeypatch.setattr(
        program, "_train", lambda paths, *_: pytest.fail(f"again: {paths}") if paths else None
    )
    monkeypatch.setattr(compare, "time_row", lambda *_: {"milliseconds": 2.0, "times_lstm": 0.5})
    call(tmp_path, "gru", "elman")
    table = (tmp_path / "comparison.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == ["elman", "gru"]
    for name, row in zip(("elman", "gru"), rows, strict=True):
        written = json.loads((tmp_path / f"{name}.json").read_text())
        tests = [100 * value for value in written["columns"]["two of three"]["test"]]
        assert f"{sum(tests) / 3:.1f} ±" in row and "2.0 (0.5)" in row
        assert written["milliseconds"] == 2.0
    assert "80 samples of two of three" in " ".join(table.split())
    assert str(tmp_path / "comparison.md") in capsys.readouterr().out


def test_refuses_other_conditions_and_unknown_models(small, tmp_path, monkeypatch):
    monkeypatch.setattr(program, "_train", lambda *_: None)
    with pytest.raises(ValueError, match="model is 'no'; accepted are"):
        call(tmp_path, "no")
    (tmp_path / "conditions.json").write_text('{"parameters": 1}')
    with pytest.raises(ValueError, match=r"holds rows made under {'parameters': 1}; accepted"):
        call(tmp_path, "elman")


@pytest.mark.parametrize("row", ["[]", "{}", '{"channels": 4, "columns": {"a": 1}, "seconds": 1}'])
def test_a_file_that_is_no_row(row, small, tmp_path):
    (tmp_path / "lstm.json").write_text(row)
    with pytest.raises(ValueError, match=r"lstm\.json is damaged; accepted is a row"):
        call(tmp_path, "lstm")


def test_a_training_that_diverges_is_not_chosen(small, monkeypatch):
    task = memorization(**TASK)
    sizes = {"input_size": task.input_size, "output_size": task.output_size, "tokens": True}
    network = zoo.make_network("irnn", features=4, **sizes)
    monkeypatch.setattr(compare, "LEARNING_RATES", (1e30, 1e-3))
    with jax.debug_nans(False):
        assert compare.train_members(network, task, 20)["learning_rate"] == 1e-3

"""The comparison of all models: its members, its rows, its table, its curves."""

import json

import jax
import numpy as np
import pytest

from tlstm_jax import training, zoo
from tlstm_jax.scripts.compare import members as compare
from tlstm_jax.scripts.compare import rows as program
from tlstm_jax.scripts.compare.pictures import plot_row
from tlstm_jax.tasks.catalogue import TASKS
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training.settings import TrainSettings

TASK = {"num_symbols": 2, "alphabet_size": 3, "batch_size": 4, "eval_samples": 250}
COLUMN = compare.Column("two of three", "memorization", TASK, 20)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(compare, "COLUMNS", (COLUMN,))
    monkeypatch.setattr(compare, "STEPS_PER_CALL", 10)


def call(workdir, *models, tasks=("memorization",)):
    program.compare(models, workdir, tasks=tasks, parameters=500, budget=1.0, jobs=1)


@pytest.mark.parametrize(("name", "even"), [("lstm", 68), ("urnn", None), ("tlstm", None)])
def test_the_width_comes_near_the_number_of_parameters(name, even):
    features = compare.choose_features(name, 20_000, TASKS["pdigits"]())
    assert even in (None, features) and features % 2 == 0

    def size(features):
        sizes = {"input_size": 1, "output_size": 10, "tokens": False}
        return zoo.count_parameters(zoo.make_network(name, features=features, **sizes))

    distances = [abs(size(features + more) - 20_000) for more in (-2, 0, 2)]
    assert min(distances) == distances[1]


@pytest.mark.slow
def test_a_member_is_the_same_run_alone(small):
    task = memorization(**TASK)
    sizes = {"input_size": task.input_size, "output_size": task.output_size, "tokens": True}
    network = zoo.make_network("gru", features=6, **sizes)
    column = compare.train_members("gru", network, task, 20)
    rate = column["settings"]["learning_rate"]
    assert rate in compare.SEARCH["learning_rate"]
    assert column["units"] == [40, 80]
    for seed, curve, expected in zip(compare.SEEDS, column["valid"], column["test"], strict=True):
        settings = TrainSettings(
            num_steps=20,
            learning_rate=rate,
            steps_per_call=10,
            eval_every=10,
            checkpoint_every=20,
            seed=seed,
        )
        reports = list(training.fit(network, task, settings))
        assert curve == pytest.approx([r.valid["accuracy"] for r in reports], abs=0.005)
        state = reports[-1].state
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


@pytest.mark.parametrize(
    ("num_steps", "every", "number"), [(50, 50, 1), (600, 50, 12), (650, 100, 7), (1000, 100, 10)]
)
def test_a_training_has_up_to_twelve_evaluations(num_steps, every, number):
    assert compare.eval_every(num_steps) == every
    assert -(-num_steps // every) == number


@pytest.mark.slow
def test_rows_are_written_once_and_make_the_table(small, tmp_path, capsys, monkeypatch):
    for name in ("elman", "gru"):
        assert compare.train_row(tmp_path / f"{name}.json", [COLUMN], 500, 1.0) == name
    monkeypatch.setattr(
        program, "_train", lambda paths, *_: pytest.fail(f"again: {paths}") if paths else None
    )
    monkeypatch.setattr(compare, "time_row", lambda *_: {"milliseconds": 2.0, "times_lstm": 0.5})
    call(tmp_path, "gru", "elman")
    table = (tmp_path / "comparison.md").read_text()
    assert table.startswith("# All models with one budget: two of three\n")
    assert "\n    python -m scripts.compare --tasks=memorization\n" in table
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == ["elman", "gru"]
    for name, row in zip(("elman", "gru"), rows, strict=True):
        written = json.loads((tmp_path / f"{name}.json").read_text())
        tests = [100 * value for value in written["columns"]["two of three"]["test"]]
        assert f"{sum(tests) / 3:.1f} ±" in row and "2.0 (0.5)" in row
        assert written["milliseconds"] == 2.0
    assert "80 samples of two of three" in " ".join(table.split())
    printed = capsys.readouterr().out
    assert str(tmp_path / "comparison.md") in printed and str(tmp_path / "curves") in printed
    for name in ("elman", "gru"):
        content = (tmp_path / "curves" / f"{name}.png").read_bytes()
        assert content.startswith(b"\x89PNG") and len(content) < 40_000


def test_refuses_other_conditions_and_unknown_models(small, tmp_path, monkeypatch):
    monkeypatch.setattr(program, "_train", lambda *_: None)
    with pytest.raises(ValueError, match="model is 'no'; accepted are"):
        call(tmp_path, "no")
    with pytest.raises(ValueError, match="model is ''; accepted are"):
        call(tmp_path)
    with pytest.raises(ValueError, match="task is 'pdigits'; accepted are memorization"):
        call(tmp_path, "elman", tasks=("pdigits",))
    (tmp_path / "conditions.json").write_text('{"parameters": 1}')
    with pytest.raises(ValueError, match=r"holds rows made under {'parameters': 1}; accepted"):
        call(tmp_path, "elman")


def test_the_chosen_tasks_are_the_columns_and_a_folder_has_one_choice(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(program, "_train", lambda paths, columns, *_: asked.extend(columns))
    for tasks in (["pdigits", "addition"], ["pdigits"]):
        with pytest.raises((FileNotFoundError, ValueError)) as refused:
            call(tmp_path, "elman", tasks=tasks)
    assert [column.task for column in asked] == ["addition", "pdigits"]
    assert "holds rows made under {'tasks': ['addition', 'pdigits']," in str(refused.value)


@pytest.mark.parametrize(
    ("title", "units", "valid"),
    [
        ("two of three", 80, [0.5, 0.6]),  # of before there were curves
        ("two of three", [40, 80], [[0.5], [0.6]]),
        ("another", [80], [[0.5], [0.6]]),
    ],
)
def test_a_row_without_its_curves(title, units, valid, small, tmp_path):
    column = {"metric": "accuracy", "units": units, "valid": valid, "test": [0.5, 0.6]}
    row = {"features": 4, "parameters": 9, "seconds": 1, "columns": {title: column}}
    (tmp_path / "lstm.json").write_text(json.dumps(row))
    with pytest.raises(ValueError, match=r"lstm\.json is damaged; accepted is a row"):
        call(tmp_path, "lstm")
    assert json.loads((tmp_path / "lstm.json").read_text()) == row


@pytest.mark.parametrize("row", ["[]", "{}", '{"channels": 4, "columns": {"a": 1}, "seconds": 1}'])
def test_a_file_that_is_no_row(row, small, tmp_path):
    (tmp_path / "lstm.json").write_text(row)
    with pytest.raises(ValueError, match=r"lstm\.json is damaged; accepted is a row"):
        call(tmp_path, "lstm")


@pytest.mark.slow
def test_a_training_that_diverges_is_not_chosen(small, monkeypatch):
    task = memorization(**TASK)
    sizes = {"input_size": task.input_size, "output_size": task.output_size, "tokens": True}
    network = zoo.make_network("irnn", features=4, **sizes)
    monkeypatch.setattr(compare, "SEARCH", {"learning_rate": (1e30, 1e-3)})
    with jax.debug_nans(False):
        column = compare.train_members("irnn", network, task, 20)
    assert column["settings"] == {"learning_rate": 1e-3}


def test_all_models_get_the_same_search():
    assert compare.searched("gru").keys() == {"learning_rate"}
    for name in ("lstm", "tlstm", "stacked_lstm", "hm_lstm"):
        assert compare.searched(name) == compare.SEARCH
    assert [compare.rungs(c.num_steps) for c in compare.COLUMNS] == [[100, 400]] * 5
    assert compare.rungs(50) == []


def row_of(*curves, units=(40, 80), metric="accuracy"):
    column = {"metric": metric, "units": list(units), "valid": list(map(list, curves))}
    return {"columns": {"two of three": column}}


def test_the_picture_has_a_line_of_each_seed_their_mean_and_that_of_the_lstm():
    row, lstm = row_of((0.2, 0.6), (0.4, 0.8)), row_of((0.1, 0.1), (0.3, 0.5))
    figure = plot_row(row, title="GRU", reference=lstm)
    (axis,) = figure.axes
    drawn = [line.get_ydata().tolist() for line in axis.lines]
    assert [np.round(line, 3).tolist() for line in drawn] == [
        [0.2, 0.3],
        *([0.2, 0.6], [0.4, 0.8]),
        [0.3, 0.7],
    ]
    assert axis.lines[0].get_color() == "0.6"
    assert all(line.get_xdata().tolist() == [40, 80] for line in axis.lines)
    legend = [text.get_text() for text in axis.get_legend().get_texts()]
    assert legend == ["LSTM, mean", "a seed", "mean"]
    assert (axis.get_xlabel(), axis.get_title()) == ("samples seen", "two of three")
    assert len(plot_row(row, title="LSTM").axes[0].lines) == 3


def test_the_mean_ends_where_a_seed_has_diverged():
    figure = plot_row(row_of((2.5, None), (2.4, 2.3), metric="bpc"), title="IRNN")
    *_, mean = figure.axes[0].lines
    assert mean.get_ydata().tolist() == pytest.approx([2.45, np.nan], nan_ok=True)
    assert figure.axes[0].get_xlabel() == "characters seen"


def test_accuracies_of_the_algorithmic_tasks_are_of_symbols():
    row = row_of((0.2, 0.6))
    columns = {c.title: row["columns"]["two of three"] for c in compare.COLUMNS[:3]}
    labels = [axis.get_ylabel() for axis in plot_row({"columns": columns}, title="GRU").axes]
    of_symbols = "accuracy of symbols, validation"
    assert labels == [of_symbols, of_symbols, "accuracy, validation"]

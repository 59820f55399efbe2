"""The comparison of all models: its members, its rows, its table, its curves."""

import json

import jax
import numpy as np
import pytest

from tlstm_jax import training, zoo
from tlstm_jax.scripts.compare import members as compare
from tlstm_jax.scripts.compare import rows as program
from tlstm_jax.scripts.compare.page import render
from tlstm_jax.scripts.compare.pictures import plot_rows
from tlstm_jax.tasks.catalogue import TASKS
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training.settings import TrainSettings

TASK = {"num_symbols": 2, "alphabet_size": 3, "batch_size": 4, "eval_samples": 250}
ROW = {
    **{"features": 4, "parameters": 9, "seconds": 1.0, "device": "cpu", "commit": "a"},
    **{"metric": "accuracy", "settings": {"learning_rate": 0.1}, "units": [40, 80]},
    **{"valid": [[0.5, 0.6], [0.4, 0.7]], "test": [0.5, 0.6], "longer": {}},
}
TIMES = {"milliseconds": 2.0, "times_lstm": 0.5, "tokens_per_second": 1234.5}
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
        path = program.Folder(tmp_path).row("memorization", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        assert compare.train_row(path, COLUMN, 500, 1.0) == f"{name}, two of three"
    monkeypatch.setattr(
        program, "_train", lambda paths, *_: pytest.fail(f"again: {paths}") if paths else None
    )
    monkeypatch.setattr(compare, "time_row", lambda *_: TIMES)
    call(tmp_path, "gru", "elman")
    table = (tmp_path / "comparison.md").read_text()
    assert table.startswith("# All models with one budget\n")
    assert "\n    python -m scripts.compare\n" in table
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == ["elman", "gru"]
    for name, row in zip(("elman", "gru"), rows, strict=True):
        written = json.loads(program.Folder(tmp_path).row("memorization", name).read_text())
        tests = [100 * value for value in written["test"]]
        assert f"{sum(tests) / 3:.1f} ±" in row and "| 2.0 (0.5) | 1,200 |" in row
        assert written["longer"] == {} and written["device"] == "cpu"
        assert json.loads(program.Folder(tmp_path).time(name).read_text()) == TIMES
    assert "80 samples of two of three" in " ".join(table.split())
    printed = capsys.readouterr().out
    assert str(tmp_path / "comparison.md") in printed and str(tmp_path / "curves") in printed
    for name in ("elman", "gru"):
        content = (tmp_path / "curves" / f"{name}.png").read_bytes()
        assert content.startswith(b"\x89PNG") and len(content) < 40_000


def test_refuses_other_conditions_and_unknown_models(small, tmp_path, monkeypatch):
    monkeypatch.setattr(program, "_train", lambda *_: None)
    monkeypatch.setattr(program, "render", lambda *_: "")
    call(tmp_path, "elman")
    with pytest.raises(ValueError, match="model is 'no'; accepted are"):
        call(tmp_path, "no")
    with pytest.raises(ValueError, match="model is ''; accepted are"):
        call(tmp_path)
    with pytest.raises(ValueError, match="task is 'pdigits'; accepted are memorization"):
        call(tmp_path, "elman", tasks=("pdigits",))
    conditions = program.Folder(tmp_path).conditions("memorization")
    conditions.write_text('{"parameters": 1}')
    with pytest.raises(ValueError, match=r"holds rows made under {'parameters': 1}; accepted"):
        call(tmp_path, "elman")


def test_only_what_is_missing_is_trained_of_models_that_a_task_is_for(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(program, "_train", lambda missing, *_: asked.extend(missing))
    monkeypatch.setattr(program, "render", lambda *_: "")
    there = program.Folder(tmp_path).row("pdigits", "gru")
    there.parent.mkdir(parents=True)
    there.write_text(json.dumps(ROW))
    monkeypatch.setattr(compare, "time_row", lambda *_: TIMES)
    call(
        tmp_path,
        "gru",
        "conv_lstm",
        "neural_gpu",
        tasks=("rows_digits", "pdigits", "multi_query_recall"),
    )
    assert [(c.task, path.stem) for path, c in asked] == [
        ("multi_query_recall", "gru"),
        ("multi_query_recall", "neural_gpu"),
        ("rows_digits", "conv_lstm"),
    ]
    with pytest.raises(ValueError, match="model is conv_lstm; accepted on pdigits are"):
        call(tmp_path, "conv_lstm", tasks=("pdigits",))
    asked.clear()
    program.compare(None, tmp_path, tasks=["pdigits"], parameters=500, budget=1.0, jobs=1)
    assert {path.stem for path, _ in asked} == set(compare.COLUMNS[2].models) - {"gru"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"units": 80, "valid": [0.5, 0.6]},
        {"valid": [[0.5], [0.6]]},
        {"test": None},
        {"features": "many"},
    ],
)
def test_a_row_that_is_damaged(wrong, small, tmp_path):
    path = program.Folder(tmp_path).row("memorization", "lstm")
    path.parent.mkdir(parents=True)
    for row in (ROW | wrong, [], {}):
        path.write_text(json.dumps(row))
        with pytest.raises(ValueError, match=r"lstm\.json is damaged; accepted is a row"):
            call(tmp_path, "lstm")
        assert json.loads(path.read_text()) == row


def test_the_page_has_both_lengths_and_says_what_diverged_and_what_is_not_there():
    longer = ROW | {"longer": {"2": [1.0, 1.0], "8": [0.25, 0.75]}}
    rows = {"lstm": {"state_tracking": longer, "pdigits": ROW | {"test": [0.5, None]}}}
    rows["gru"] = {"pdigits": ROW}
    times = {"lstm": TIMES, "gru": TIMES | {"tokens_per_second": None}}
    columns = {c.task: c for c in compare.COLUMNS}
    shared = {"parameters": 500, "seeds": [0, 1], "search": {"learning_rate": [0.1]}}
    shared |= {"rungs": [10], "evaluations": 12}
    page = render(rows, times, {"state_tracking": shared, "pdigits": shared})
    head, _, lstm, gru = [line for line in page.splitlines() if line.startswith("|")]
    assert head.endswith(f"| {columns['state_tracking'].title}: % | permuted 8x8 digits: % |")
    assert lstm.endswith("| 2.0 (0.5) | 1,200 | 55.0 ± 7.1; 50.0 ± 35.4 | diverged (1 of 2) |")
    assert gru.endswith("| 2.0 (0.5) |  | not yet | 55.0 ± 7.1 |")
    words = " ".join(page.split())
    assert "of sequences 8 times as long" in words
    absent = words.partition("Not begun: ")[2]
    assert "`tlstm`, " in absent and "8x8 digits row by row." in absent
    assert "`gru`" not in absent and "permuted" not in absent


@pytest.mark.slow
def test_a_training_that_diverges_is_not_chosen(small, monkeypatch):
    task = memorization(**TASK)
    sizes = {"input_size": task.input_size, "output_size": task.output_size, "tokens": True}
    network = zoo.make_network("irnn", features=4, **sizes)
    monkeypatch.setattr(compare, "SEARCH", {"learning_rate": (1e30, 1e-3)})
    with jax.debug_nans(False):
        column = compare.train_members("irnn", network, task, 20)
    assert column["settings"] == {"learning_rate": 1e-3}
    monkeypatch.setattr(compare, "SEARCH", {"learning_rate": (1e30,)})
    with jax.debug_nans(False):
        column = compare.train_members("irnn", network, task, 20)
    assert column["test"] == [None] * 3 and column["longer"] == {}


def test_all_models_get_the_same_search():
    assert compare.searched("gru").keys() == {"learning_rate"}
    for name in ("lstm", "tlstm", "stacked_lstm", "hm_lstm"):
        assert compare.searched(name) == compare.SEARCH
    assert [compare.rungs(c.num_steps) for c in compare.COLUMNS] == [[100, 400]] * 5
    assert compare.rungs(50) == []


def row_of(*curves, units=(40, 80), metric="accuracy"):
    row = {"metric": metric, "units": list(units), "valid": list(map(list, curves))}
    return {"pdigits": row}


def test_the_picture_has_a_line_of_each_seed_their_mean_and_that_of_the_lstm():
    row, lstm = row_of((0.2, 0.6), (0.4, 0.8)), row_of((0.1, 0.1), (0.3, 0.5))
    figure = plot_rows(row, title="GRU", reference=lstm)
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
    assert (axis.get_xlabel(), axis.get_title()) == ("samples seen", "permuted 8x8 digits")
    assert len(plot_rows(row, title="LSTM").axes[0].lines) == 3


def test_the_mean_ends_where_a_seed_has_diverged():
    figure = plot_rows(row_of((2.5, None), (2.4, 2.3), metric="bpc"), title="IRNN")
    *_, mean = figure.axes[0].lines
    assert mean.get_ydata().tolist() == pytest.approx([2.45, np.nan], nan_ok=True)
    assert figure.axes[0].get_xlabel() == "characters seen"

"""What a sweep chooses and shows: by mean and spread over seeds, in samples seen by each member."""

import csv
import json
import math

import numpy as np
import pytest

from tlstm_jax.scripts import display
from tlstm_jax.scripts.sweep import report, table
from tlstm_jax.scripts.sweep.plan import Sweep
from tlstm_jax.sweeps import pictures as sweep_pictures
from tlstm_jax.sweeps import search
from tlstm_jax.sweeps.groups import Curves, plan
from tlstm_jax.sweeps.search import Halving, over_seeds, ranked
from tlstm_jax.sweeps.sweeping import sweep
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training.settings import TrainSettings

POINTS = [{"learning_rate": rate, "seed": seed} for rate in (1e-3, 1e-2) for seed in (0, 1)]
LUCKY = [0.1, 0.9, 0.6, 0.7]  # the best member has the worse setting
NAN = math.nan


def test_a_setting_is_as_good_as_its_seeds_are_on_average():
    first, second = over_seeds(POINTS, LUCKY)
    assert first.point == {"learning_rate": 1e-3} and first.members == (0, 1) and first.best == 1
    assert second.members == (2, 3) and second.best == 3
    assert (first.mean, first.spread) == pytest.approx((0.5, 0.8 / math.sqrt(2)))
    assert (second.mean, second.spread) == pytest.approx((0.65, 0.1 / math.sqrt(2)))
    assert [setting.best for setting in ranked([first, second])] == [3, 1]


def test_a_setting_some_of_whose_seeds_diverge_comes_behind_the_others():
    settings = over_seeds(POINTS, [NAN, 0.9, 0.6, 0.5])
    assert [setting.best for setting in ranked(settings)] == [2, 1]
    settings = over_seeds(POINTS, [NAN, NAN, NAN, 0.1])
    assert [setting.best for setting in ranked(settings)] == [3, None]
    assert math.isnan(ranked(settings)[1].mean)


def test_without_seeds_every_member_is_a_setting_of_its_own():
    settings = over_seeds([{"a": 1}, {"a": 2}], [0.1, 0.2])
    assert [(s.members, s.mean) for s in settings] == [((0,), 0.1), ((1,), 0.2)]
    assert all(math.isnan(s.spread) for s in settings)


def test_where_seeds_alone_are_swept_over_the_best_seed_is_the_best():
    (setting,) = over_seeds([{"seed": 0}, {"seed": 1}], [0.1, 0.2])
    assert setting.point == {} and setting.best == 1


def test_halving_keeps_all_seeds_of_a_setting_or_none():
    halving = Halving(2, 10)
    scores = dict(enumerate(LUCKY))
    assert halving.survivors(scores, [(0, 1), (2, 3)]) == [2, 3]
    assert halving.survivors(scores, [(0,), (1,), (2,), (3,)]) == [1, 3]
    assert halving.survivors({2: 0.6, 3: 0.7}, [(0, 1), (2, 3)]) == [2, 3]
    assert halving.survivors(scores | {3: NAN}, [(0, 1), (2, 3)]) == [0, 1]


@pytest.mark.slow
def test_a_sweep_drops_entire_settings_and_ends_with_the_best_by_mean():
    task = memorization(2, 3, batch_size=4, eval_samples=30, eval_batch_size=10)
    settings = TrainSettings(num_steps=8, eval_every=2, checkpoint_every=4, steps_per_call=2)
    space = {"learning_rate": [1e-4, 1e-2], "features": [3, 4], "seed": [0, 1]}
    results = sweep(task, "lstm", space, settings=settings, halving=Halving(2, 4))
    kept = [
        setting.members
        for setting in results.settings()
        if ~np.isnan(results.curves[setting.members[0], -1])
    ]
    assert len(kept) == 2
    for setting in results.settings():
        assert len({results.stop[n] for n in setting.members}) == 1
    best = ranked(results.settings())[0]
    assert results.best == best.best
    scores = results.best_metric[list(best.members)]
    assert scores.mean() == max(
        results.best_metric[list(s.members)].mean() for s in results.settings()
    )
    # The parameters are those of that member: of the width that its setting has.
    assert results.params["model"]["recurrent"]["kernel"].shape[0] == best.point["features"]
    # Where nothing but seeds is swept over, halving chooses among them.
    results = sweep(task, "lstm", {"seed": [0, 1]}, settings=settings, halving=Halving(2, 4))
    assert sorted(results.stop) == ["all steps done", "dropped after 4 steps"]


def _curves(scores):
    curves = Curves(range(len(scores)), metric="accuracy", maximize=True)
    for n, score in enumerate(scores):
        curves.valid[n] = {10: score}
    return curves


class _Report:
    def __init__(self, step):
        self.progress = type("Progress", (), {"step": step})
        self.valid, self.finished, self.train, self.stop = (
            {"accuracy": 0.5},
            False,
            {"loss": 1.0},
            None,
        )


def test_a_line_names_its_group_and_the_best_setting_with_its_spread(capsys):
    points = [
        {"features": c, "learning_rate": r, "seed": s}
        for c in (4, 5)
        for r in (1e-3, 1e-2)
        for s in (0, 1)
    ]
    shown = table.Table(points, memorization(2, 3), _curves([*LUCKY, 0.1, 0.1, 0.2, 0.2]))
    shown.show({n: _Report(10) for n in (0, 1, 2, 3)}, members=(0, 1, 2, 3))
    assert capsys.readouterr().out == (
        "step 10, features=4: 4 members; best so far: accuracy 65.00 ± 7.07 %, 2 seeds of "
        "features=4, learning_rate=0.01\n"
    )
    shown = table.Table(POINTS[::2], memorization(2, 3), _curves([0.1, 0.2]))
    shown.show({0: _Report(10), 1: _Report(10)}, members=(0, 1))
    assert capsys.readouterr().out == (
        "step 10: 2 members; best so far: accuracy 20.00 %, member 1 (learning_rate=0.01, seed=0)\n"
    )


@pytest.fixture
def written(tmp_path):
    """What is written of a sweep whose luckiest member has the worse setting."""
    task = memorization(2, 3)
    directories = []
    for n, score in enumerate(LUCKY):
        directory = report.RunDirectory(tmp_path / "members" / str(n))
        directory.path.mkdir(parents=True)
        directory.results.write_text(
            json.dumps({"step": 10, "best_metric": score, "test": {"accuracy": score, "loss": 1.0}})
        )
        directories.append(directory)
    curves = _curves(LUCKY)
    curves.stop |= dict.fromkeys(range(4), "all steps done")
    units = [150, 150, 300, 300]
    said = report.write_report(tmp_path, POINTS, curves, task, directories, units)
    return tmp_path, said


def test_the_report_chooses_by_the_mean_and_has_a_table_of_settings(written):
    workdir, said = written
    assert (workdir / "best").resolve() == (workdir / "members" / "3").resolve()
    assert said == (
        "best setting: learning_rate=0.01: accuracy 65.00 ± 7.07 % over 2 seeds; on test: "
        "accuracy 65.00 ± 7.07 %, loss 1.0000 ± 0.0000\n"
        f"best member of it: 3 (learning_rate=0.01, seed=1), in {workdir / 'best'}; on test: "
        "accuracy 70.00 %, loss 1.0000"
    )
    rows = list(csv.DictReader((workdir / "settings.csv").open()))
    assert [float(row["learning_rate"]) for row in rows] == [1e-2, 1e-3]  # the best first
    assert [row["seeds"] for row in rows] == ["2", "2"]
    assert [float(row["mean_best_accuracy"]) for row in rows] == pytest.approx([0.65, 0.5])
    assert float(rows[0]["std_best_accuracy"]) == pytest.approx(0.1 / math.sqrt(2))
    assert [float(row["mean_test_accuracy"]) for row in rows] == pytest.approx([0.65, 0.5])
    assert [row["best_member"] for row in rows] == ["3", "1"]


def test_members_of_other_batch_sizes_are_drawn_at_the_samples_that_they_saw(monkeypatch, written):
    given = {
        "task": "memorization", "num_symbols": 2, "alphabet_size": 3, "model": "lstm",
        "num_steps": 10,
    }  # fmt: skip
    made = Sweep.make(given, None, {"batch_size": [15, 30]})
    assert made.units_per_step(made.groups()) == [15, 30]
    drawn = {}
    monkeypatch.setattr(
        report, "plot_sweep", lambda points, units, curves, **k: drawn.update(units=units)
    )
    monkeypatch.setattr(report, "save_figure", lambda path, figure: None)
    workdir, _ = written
    directories = [report.RunDirectory(workdir / "members" / str(n)) for n in range(4)]
    report.write_report(
        workdir,
        POINTS,
        _filled(_curves(LUCKY)),
        memorization(2, 3),
        directories,
        [150, 150, 300, 300],
    )
    assert drawn["units"].tolist() == [[1500], [1500], [3000], [3000]]


def _filled(curves):
    curves.stop |= dict.fromkeys(curves.valid, "all steps done")
    return curves


def test_figures_have_one_unit():
    assert display.number("accuracy", 0.5) == "50.00 %"
    assert display.number("accuracy", 0.5, 0.01) == "50.00 ± 1.00 %"
    assert display.number("loss", 0.5, 0.01) == "0.5000 ± 0.0100"
    assert display.number("loss", 0.5, NAN) == "0.5000"


def draw(points, curves, units=(100, 200), maximize=True):
    return sweep_pictures.plot_sweep(
        points,
        np.array(units),
        np.array(curves, float),
        metric="accuracy" if maximize else "loss",
        maximize=maximize,
        unit="samples",
    )


def test_a_line_is_the_mean_over_seeds_and_its_band_their_spread():
    figure = draw(POINTS, [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.5, 0.8]])
    axis = figure.axes[-1]
    lines = [line.get_ydata().tolist() for line in axis.lines]
    assert lines == [pytest.approx([0.2, 0.3]), pytest.approx([0.5, 0.7])]
    assert len(axis.collections) == 2
    band = axis.collections[1].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(0.7 + 0.2 / math.sqrt(2), abs=1e-6)
    assert band.min() == pytest.approx(0.5, abs=1e-6)  # two equal seeds


def test_lines_lie_at_their_own_members_samples():
    points = [{"batch_size": 15}, {"batch_size": 30}]
    figure = draw(points, [[0.1, 0.2], [0.3, 0.4]], units=[[150, 300], [300, 600]])
    assert [line.get_xdata().tolist() for line in figure.axes[-1].lines] == [[150, 300], [300, 600]]


def test_a_legend_is_sorted_and_lies_beside_the_curves():
    points = [{"features": n} for n in (30, 4, 100)]
    figure = draw(points, [[0.1, 0.2]] * 3)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["4", "30", "100"]
    assert all(axis.get_legend() is None for axis in figure.axes)
    figure.canvas.draw()
    assert legend.get_window_extent().x0 >= figure.axes[-1].get_window_extent().x1


def test_lines_of_one_colour_are_told_apart_by_the_second_setting():
    points = [{"learning_rate": r, "features": c} for r in (0.1, 0.2) for c in (20, 3)]
    figure = draw(points, [[0.1, 0.2]] * 4)
    lines = figure.axes[-1].lines
    assert [line.get_linestyle() for line in lines] == ["--", "-", "--", "-"]
    assert lines[0].get_color() == lines[1].get_color() != lines[2].get_color()
    of_colours, of_styles = figure.legends
    assert [text.get_text() for text in of_styles.get_texts()] == ["3", "20"]
    figure.canvas.draw()
    assert not of_colours.get_window_extent().overlaps(of_styles.get_window_extent())


def test_many_numbers_have_a_colour_bar_and_many_names_a_short_legend():
    points = [{"learning_rate": 10 ** (-n / 3)} for n in range(12)]
    figure = draw(points, [[0.1, 0.2]] * 12)
    assert not figure.legends
    bar = figure.axes[-1]
    assert bar.get_ylabel() == "learning_rate" and bar.get_yscale() == "log"
    points = [{"model": f"model {n}"} for n in range(12)]
    (legend,) = draw(points, [[0.1, 0.2]] * 12).legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert len(texts) == sweep_pictures.MOST_ENTRIES and texts[-1] == "and 5 more"


def test_an_accuracy_is_drawn_in_per_cent():
    figure = draw(POINTS, [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.5, 0.8]])
    for axis in figure.axes:
        assert "%" in axis.yaxis.get_major_formatter()(0.5)


def test_groups_know_which_members_are_one_setting():
    task, settings = memorization(2, 3), TrainSettings()
    points = [{"features": c, **point} for c in (3, 4) for point in POINTS]
    groups = plan(points, lambda n: (task, None, settings), lambda n: {})
    assert search.by_setting(points) == [(0, 1), (2, 3), (4, 5), (6, 7)]
    from tlstm_jax.sweeps.groups import settings_of

    assert sorted(settings_of(groups)) == search.by_setting(points)

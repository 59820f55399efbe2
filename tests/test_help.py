"""What programs tell of their settings, presets and names, and the folders that they choose."""

import re

import pytest
from absl import flags
from absl.testing import flagsaver

from tlstm_jax import zoo
from tlstm_jax.runs import settings
from tlstm_jax.scripts import train
from tlstm_jax.scripts.defaults import describe_defaults
from tlstm_jax.scripts.sweep import space
from tlstm_jax.scripts.sweep.plan import Sweep
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.zoo.presets import PRESETS


def _listing(*args, capsys):
    with flagsaver.flagsaver():
        flags.FLAGS.unparse_flags()
        flags.FLAGS(["train", *args])
        assert train.main() == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", ["train", "sweep", "footprint", "release"])
def test_help_shows_every_setting_with_its_default(name, program):
    told = program(name, "--help", code=1).stdout
    for setting in (*train.RUN_FLAGS, "platform"):
        assert re.search(rf"^  --(\[no\])?{setting}:", told, re.MULTILINE), setting
    assert "--workdir:" in told or name == "footprint"
    words = " ".join(told.split())
    assert "K >= 2, the kernel size along every tensor axis. (tlstm, trnn" in words
    assert "Optimizer steps. Default: 1000." in words
    assert words.count("Default: ") >= len(train.RUN_FLAGS)


def test_help_of_a_reading_program_has_its_own_flags_and_the_platform(program):
    told = program("evaluate", "--help", code=1).stdout
    names = {"workdir", "split", "checkpoint", "eval_seed", "data_dir", "data_path", "platform"}
    names |= {"model", "task", "eval_samples", "num_digits", "num_symbols", "delay", "num_pairs"}
    names |= {"sequence_length", "max_depth"}
    assert set(re.findall(r"^  --(\w+):", told, re.MULTILINE)) == names


def test_defaults_that_differ_are_told_with_whose_they_are():
    tables = {"a": {"x": 1, "y": None}, "b": {"x": 1}, "c": {"x": (2, 3), "z": True}}
    assert describe_defaults(tables) == {
        "x": "Default: 1; 2,3 (c).",
        "y": "Default: none.",
        "z": "Default: true.",
    }
    two = r"2 \(stacked_lstm, row_lstm, grid_lstm, qrnn, sru\b[^)]*\)"
    told = rf"Default: 1; {two}; 3 \(hm_lstm, gated_feedback\)"
    assert re.search(told, flags.FLAGS["num_layers"].help)


def test_presets_are_listed_by_task_and_model(capsys):
    def names(*args):
        return re.findall(r"^(\S+)\n  python", _listing("--list_presets", *args, capsys=capsys), 8)

    assert names() == list(PRESETS)
    some = names("--task=addition")
    assert some == [n for n, preset in PRESETS.items() if preset.task == "addition"]
    both = names("--task=memorization", "--model=tlstm")
    chosen = [n for n, p in PRESETS.items() if (p.task, p.model) == ("memorization", "tlstm")]
    assert both == chosen and 0 < len(both) < len(PRESETS)


def test_a_model_is_described_alone(capsys):
    told = _listing("--list_models", "--model=gru", capsys=capsys)
    assert told.startswith("gru: GRU, reset after or before") and "lstm:" not in told


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--list_presets", "--task=adition"], "task is 'adition'; did you mean addition? accept"),
        (
            ["--list_presets", "--task=digits", "--model=trnn"],
            "task digits, model trnn has no preset; accepted",
        ),
        (["--list_models", "--model=grru"], "model is 'grru'; did you mean gru? accepted are"),
        (["--task=memorisation"], "task is 'memorisation'; did you mean memorization? accepted"),
        (["--task=addition", "--model=ltsm"], "model is 'ltsm'; did you mean "),
        (["--preset=memorization/quickstrat"], "; did you mean memorization/quickstart? accepted"),
        (["--task=xyz"], "task is 'xyz'; accepted are addition"),
    ],
)
def test_a_name_that_is_nearly_right(args, message):
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as ended:
        flags.FLAGS.unparse_flags()
        flags.FLAGS(["train", *args])
        train.main()
    assert message in str(ended.value) and "\n" not in str(ended.value)


def test_a_name_that_is_nearly_right_in_python():
    with pytest.raises(
        ValueError, match=r"^forget_bais is not a .*; did you mean forget_bias\? ac"
    ):
        zoo.make_model("lstm", forget_bais=1.0)
    with pytest.raises(ValueError, match=r"^trained model is 'digit'; did you mean digits\? accep"):
        zoo.card("digit")
    with pytest.raises(ValueError, match=r"^task is 3; accepted are"):
        settings.task_settings(3)


def _folder(*args):
    with flagsaver.flagsaver():
        flags.FLAGS.unparse_flags()
        flags.FLAGS(["train", "--task=memorization", "--model=lstm", *args])
        return train._settings()


def test_default_folders_of_other_runs_do_not_collide(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    folders = []
    for args in ([], ["--features=4"], ["--seed=1"], [], ["--features=4"]):
        directory, chosen = _folder(*args)
        directory.claim(chosen, memorization(**chosen.task_settings))
        folders.append(str(directory.path))
    first = "runs/memorization-lstm"
    assert folders == [first, f"{first}-2", f"{first}-3", first, f"{first}-2"]
    (tmp_path / "runs" / "memorization-lstm-4").write_text("something else")
    assert str(_folder("--seed=2")[0].path) == f"{first}-5"


def test_default_folders_of_other_sweeps_do_not_collide(monkeypatch, tmp_path):
    from tlstm_jax.runs.files import free_folder

    monkeypatch.chdir(tmp_path)
    folders = []
    for over in ("seed=0,1", "seed=0..2", "features=4,5", "seed=0,1", "features=4,5"):
        given = {"task": "memorization", "model": "lstm"}
        swept = Sweep.make(given, None, space.parse([over]))
        folder = free_folder("runs/sweep", swept.is_taken)
        swept.claim(tmp_path / folder)
        folders.append(folder)
    assert folders == ["runs/sweep", "runs/sweep-2", "runs/sweep-3", "runs/sweep", "runs/sweep-3"]

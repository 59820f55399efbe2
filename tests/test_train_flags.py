"""What the training program refuses, and what its settings become."""

import json
import re

import pytest
from absl import flags
from absl.testing import flagsaver

from tlstm_jax import zoo
from tlstm_jax.runs import settings
from tlstm_jax.runs.directory import RunDirectory
from tlstm_jax.scripts import train
from tlstm_jax.tasks.catalogue import TASKS
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.zoo.presets import PRESETS


@pytest.fixture
def refused(tmp_path, capsys):
    """Runs the training program up to its error message, in this process."""

    def call(*args):
        with flagsaver.flagsaver():
            flags.FLAGS.unparse_flags()
            flags.FLAGS(["train", f"--workdir={tmp_path}/run", *args])
            with pytest.raises(SystemExit) as exit_:
                train.main()
        message = str(exit_.value)
        assert message.startswith("error: ") and "\n" not in message
        return message.removeprefix("error: ")

    yield call
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "/run holds no config.json; accepted is"),
        (
            ["--features=3"],
            "neither --task nor --preset is given; accepted tasks are addition, memorization",
        ),
        (["--task=no"], "task is 'no'; accepted are addition"),
        (["--task=addition", "--model=no"], "model is 'no'; accepted are tlstm, trnn"),
        (["--preset=no"], "preset is 'no'; accepted are memorization/quickstart"),
        (["--task=addition", "--num_symbols=3"], "--num_symbols is not a setting of task addition"),
        (["--task=addition", "--model=lstm", "--kernel_size=3"], "--kernel_size is not a setting"),
        (["--task=addition", "--tensor_shape=0"], "tensor_shape is (0,); accepted are"),
        (["--task=addition", "--tensor_shape=3,-1"], "tensor_shape is (3, -1); accepted are"),
        (["--task=addition", "--kernel_size=1"], "kernel_size is 1; accepted are integers >= 2"),
        (["--task=addition", "--features=0"], "features is 0; accepted are integers from 1 to"),
        (["--task=addition", "--normalization=batch"], "normalization is 'batch'; accepted are"),
        (["--task=addition", "--dtype=int8"], "dtype is 'int8'; accepted are float32, bfloat16"),
        (["--task=addition", "--model=gru", "--reset=no"], "reset is 'no'; accepted are before"),
        (["--task=addition", "--num_digits=0"], "num_digits is 0; accepted are integers from 1"),
        (["--task=addition", "--num_steps=0"], "num_steps is 0; accepted are integers from 1"),
        (["--task=addition", "--remat_every=0"], "remat_every is 0; accepted are"),
        (["--task=addition", "--max_minutes=0"], "max_minutes is 0.0; accepted are numbers > 0"),
        (["--task=addition", "--eval_every=3", "--steps_per_call=2"], "eval_every is 3; accepted"),
        (["--task=addition", "--max_minutes=nan"], "max_minutes is nan; accepted are numbers > 0"),
        (
            ["--task=addition", "--seed=2147483648"],
            "seed is 2147483648; accepted are integers from",
        ),
        (["--task=addition", "--features=1048576"], "parameters; accepted are up to 8,589,934,592"),
        (["--task=addition", "--kernel_size=999999"], "parameters; accepted are up to 8,589,934,5"),
        (
            ["--task=addition", "--model=dilated", "--num_layers=13"],
            "num_layers is 13; accepted are 1",
        ),
        (
            ["--task=pdigits", "--permutation_seed=-1"],
            "permutation_seed is -1; accepted are integers",
        ),
        (["--task=addition", "--clip_norm=inf"], "clip_norm is inf; accepted are finite numbers"),
        (["--task=digits", "--batch_size=9999"], "batch_size is 9999; accepted are 1"),
        (["--task=mnist", "--data_dir=/no/such/folder/at/all"], "/no/such/folder/at/all"),
        (["--task=char_lm", "--data_path=/no/such/file"], "/no/such/file"),
        (
            ["--task=char_lm", "--segment_length=3", "--tensor_shape=4"],
            "segment_length",  # not longer than the delay
        ),
    ],
)
def test_bad_settings_are_one_line_and_leave_nothing(args, message, refused, tmp_path):
    assert message in refused(*args)
    assert not (tmp_path / "run").exists()


def test_a_shape_that_is_none():
    with (
        flagsaver.flagsaver(),
        pytest.raises(flags.IllegalFlagValueError, match="joined by , or x"),
    ):
        flags.FLAGS(["train", "--tensor_shape=big"])


@pytest.mark.parametrize("given", ["4,3", "4x3", "(4,3)"])
def test_shapes(given):
    with flagsaver.flagsaver():
        flags.FLAGS(["train", f"--tensor_shape={given}"])
        assert flags.FLAGS.tensor_shape == (4, 3)


def test_a_text_shorter_than_a_segment(refused, tmp_path):
    (tmp_path / "short.txt").write_text("too short")
    message = refused("--task=char_lm", f"--data_path={tmp_path}/short.txt")
    assert "segment_length=50" in message


def test_a_folder_that_holds_something_else(refused, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    message = refused("--task=memorization")
    assert "exists and holds no run; accepted is a new or empty folder" in message
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def _claim(tmp_path, **given):
    chosen = settings.resolve({"task": "memorization", "num_steps": 40, **given}, None)
    directory = RunDirectory(tmp_path / "run")
    directory.claim(chosen, memorization(**chosen.task_settings))
    return directory, chosen


def test_a_folder_that_holds_another_run(refused, tmp_path):
    directory, _ = _claim(tmp_path)
    before = directory.config.read_text()
    message = refused("--task=memorization", "--num_steps=40", "--features=7")
    assert "holds another run, whose features is 100, not 7; accepted" in message
    message = refused("--task=addition")
    assert "whose task is memorization, not addition" in message
    assert directory.config.read_text() == before


def test_a_run_can_be_made_longer_at_a_constant_rate_only(tmp_path):
    _claim(tmp_path)
    directory, _ = _claim(tmp_path, num_steps=80)
    assert directory.read_config().train_settings["num_steps"] == 80
    with pytest.raises(ValueError, match="whose num_steps is 80, not 20"):
        _claim(tmp_path, num_steps=20)
    _claim(tmp_path / "cosine", schedule="cosine")
    with pytest.raises(ValueError, match="num_steps is 40, not 80"):
        _claim(tmp_path / "cosine", num_steps=80, schedule="cosine")


def test_other_data_under_the_same_name(tmp_path):
    directory, _ = _claim(tmp_path)
    data = json.loads(directory.data.read_text())
    directory.data.write_text(json.dumps({**data, "sha256": "0" * 64}))
    with pytest.raises(
        ValueError, match=r"differ; accepted are those that the run in .* began with"
    ):
        _claim(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"task": "memorization"}', "\xff"])
def test_a_damaged_config(content, refused, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_bytes(content.encode("latin-1"))
    assert re.search("config.json is damaged", refused())


def test_settings_survive_their_file(tmp_path):
    directory, chosen = _claim(tmp_path, tensor_shape=(3, 2))
    read = directory.read_config()
    assert read.make()[1] == chosen.make()[1]
    assert read.train_settings == chosen.train_settings


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_its_network(name):
    chosen = settings.resolve({}, name)
    preset = PRESETS[name]
    taken = {**chosen.task_settings, **chosen.model_settings, **chosen.train_settings}
    assert {k: taken[k] for k in preset.settings} == preset.settings
    network = chosen.make_network(input_size=3, output_size=3, tokens=True)
    assert network.model.features == preset.settings["features"]


def test_a_flag_overrides_a_preset():
    name = "memorization/quickstart"
    assert settings.resolve({"features": 7}, name).model_settings["features"] == 7
    other = settings.resolve({"model": "lstm"}, name)
    assert other.model == "lstm" and other.model_settings["features"] == 64
    assert "tensor_shape" not in other.model_settings


@pytest.mark.parametrize(("steps", "per_call"), [(10, 10), (7, 1), (30, 10), (4, 2)])
def test_steps_per_call_fit_unless_given(steps, per_call):
    chosen = settings.resolve({"task": "memorization", "num_steps": steps}, None)
    assert chosen.train_settings["steps_per_call"] == per_call


def test_every_setting_has_a_flag():
    names = set(settings.train_settings())
    for task in TASKS:
        names |= set(settings.task_settings(task))
    for model in zoo.MODELS:
        names |= set(zoo.model_settings(model))
    missing = names - set(train.RUN_FLAGS)
    assert not missing, "these have no flag in scripts/run_flags.py"
    assert set(train.RUN_FLAGS) - names == {"task", "model"}

"""The trained models that come with the package reach what their cards say, on fresh data."""

import io
import json
import pathlib
import re
import subprocess
import sys
import zipfile
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hostile import mutated, refusal
from tlstm_jax import training, zoo
from tlstm_jax.tasks.addition import addition
from tlstm_jax.tasks.char_lm import char_lm
from tlstm_jax.tasks.images import digits
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training import loop
from tlstm_jax.zoo import released, weights

ROOT = pathlib.Path(__file__).parent.parent
NAMES = ("addition", "char_lm", "digits", "memorization", "wiki_text")
TASKS = {"addition": addition, "char_lm": char_lm, "digits": digits, "memorization": memorization}
FRESH = 20_261_126  # no run's seed
SAMPLES = 1000
TOLERANCE = {
    "accuracy": 0.01,
    "sequence_accuracy": 0.02,
}  # of other samples, and sums in other order
MORE_BITS = 0.05  # of the text, which differs a little from one Python to the next
# Of a model whose own text is not here, on Python's; its page has them.
ON_OTHER_TEXT = {"wiki_text": 3.239}


def page(name):
    return (ROOT / "docs/models" / f"{name}.md").read_text()


def fresh_task(card):
    task = TASKS[card["task"]](**card["task_settings"])
    return task.with_vocabulary(card["vocabulary"]) if card["vocabulary"] else task


def test_these_come_with_the_package():
    assert zoo.trained() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_are_small_and_the_network_is_that_of_the_card(name):
    assert (zoo.TRAINED / f"{name}.npz").stat().st_size < 2_000_000
    model, params = zoo.load(name)
    assert zoo.count_parameters(model) == zoo.card(name)["parameters"]
    assert jax.tree.leaves(model.init(jax.random.key(0))[1]) == []
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


@pytest.mark.slow(but=["memorization"])
@pytest.mark.parametrize("name", NAMES)
def test_the_weights_reach_their_figure_on_fresh_data(name):
    model, params = zoo.load(name)
    card = zoo.card(name)
    task = fresh_task(card)
    key = jax.random.key(FRESH)
    found = training.evaluate(model, task, params, (), task.data, split="test", key=key)
    for metric, allowed in TOLERANCE.items():
        if metric in card["test"] and card["metric"] == "accuracy":
            assert found[metric] >= card["test"][metric] - allowed, found
    if card["metric"] == "bpc":
        expected = ON_OTHER_TEXT.get(name, card["test"]["bpc"])
        assert found["bpc"] <= expected + MORE_BITS, found
        assert name not in ON_OTHER_TEXT or f"{expected:.3f} bits per character" in page(name)


def pairs(inputs):
    """Which two numbers are added: [..], from inputs [T, ..]."""
    first, second = (np.tensordot([100, 10, 1], inputs[at : at + 3], 1) for at in (1, 5))
    return first * 1000 + second


@pytest.mark.slow
def test_addition_of_numbers_that_were_never_added_in_training():
    """There are only 810,000 sums of 3 digits, so fresh samples repeat what was trained on."""
    model, params = zoo.load("addition")
    card = zoo.card("addition")
    task = fresh_task(card)
    key = jax.random.key(card["train_settings"]["seed"])
    data_key = loop._key(key, "data")

    def inputs(step):
        return task.train_batch((), data_key, step, model.delay).inputs

    steps = jnp.arange(card["step"])
    trained = np.asarray(jax.jit(lambda: jax.lax.map(inputs, steps))())  # [steps, T, B]
    seen = np.unique(pairs(np.moveaxis(trained, 1, 0)))
    batch = task.sample(jax.random.key(FRESH), SAMPLES, task.size, len(task.alphabet) - 1)
    new = ~np.isin(pairs(np.asarray(batch.inputs)), seen)
    assert 0.5 * SAMPLES < new.sum() < 0.9 * SAMPLES
    batch = batch._replace(mask=batch.mask & new[None])
    carry = model.init_carry(SAMPLES)
    _, logits, _, _ = jax.jit(model.apply)(params, (), carry, batch.inputs)
    right, count = map(float, task.metrics(logits, batch)["sequence_accuracy"])
    assert count == new.sum()
    allowed = TOLERANCE["sequence_accuracy"]
    assert right / count >= card["test"]["sequence_accuracy"] - allowed, right / count


@pytest.mark.parametrize("name", NAMES)
def test_the_page_says_what_the_card_says(name):
    card, text = zoo.card(name), page(name)
    value = card["test"][card["metric"]]
    figure = f"{value:.3f} bits" if card["metric"] == "bpc" else f"{100 * value:.2f} %"
    for said in (figure, f"`{card['command']}`", f"{card['parameters']:,} parameters"):
        assert said in text, said
    assert f"`{card['command']}`" == f"`python -m scripts.release --name={name}`"
    for heading in ("Task", "Command", "Data", "Result", "Limits", "Use"):
        assert f"\n## {heading}\n" in text
    assert f"](docs/models/{name}.md)" in (ROOT / "README.md").read_text()


@pytest.mark.slow(but=["memorization"])
@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_the_page_runs(name, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", page(name), re.DOTALL)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        exec(code, {})
    assert capsys.readouterr().out.strip()


def test_an_unknown_name():
    for call in (zoo.load, zoo.card):
        for name in ("lstm", "../zoo", None, ["digits"]):
            with pytest.raises(
                ValueError, match=r"^trained model is .*; accepted are addition, char_lm"
            ):
                call(name)


def test_a_damaged_card(tmp_path, monkeypatch):
    no_list = json.dumps(zoo.card("digits") | {"vocabulary": 1}).encode()
    monkeypatch.setattr(released, "TRAINED", tmp_path)
    for content in (b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"model": 1}', no_list):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"^.*a\.json is damaged.*; accepted is a card") as e:
            zoo.load("a")
        assert "\n" not in str(e.value)


PARAMS = {
    "model": {"w": jnp.arange(6.0).reshape(2, 3), "b": [jnp.zeros(3)]},
    "readout": jnp.ones(4),
}
LIKE = jax.eval_shape(lambda: PARAMS)


@pytest.fixture
def path(tmp_path):
    weights.write_weights(tmp_path / "a.npz", PARAMS)
    return tmp_path / "a.npz"


def archive(path, arrays, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in arrays:
            if not isinstance(content, bytes):
                buffer = io.BytesIO()
                np.save(buffer, content, allow_pickle=False)
                content = buffer.getvalue()
            file.writestr(name, content)


def arrays():
    return {weight: np.asarray(value) for weight, value in weights._named(PARAMS).items()}


def test_weights_come_back_bit_for_bit_and_numpy_reads_them(path, tmp_path):
    found = weights.read_weights(path, LIKE)
    assert jax.tree.structure(found) == jax.tree.structure(PARAMS)
    jax.tree.map(np.testing.assert_array_equal, found, PARAMS)
    with np.load(path, allow_pickle=False) as file:
        assert sorted(file) == ["model/b/0", "model/w", "readout"]
    weights.write_weights(tmp_path / "b.npz", PARAMS)
    assert (tmp_path / "b.npz").read_bytes() == path.read_bytes()


def test_what_is_not_the_network_is_refused_in_one_line(path):
    right = arrays()
    nan = np.full((4,), np.nan, np.float32)
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        huge, {"descr": "<f4", "fortran_order": False, "shape": (2**40,)}
    )
    of_objects = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        of_objects, {"descr": "|O", "fortran_order": False, "shape": (4,)}
    )
    cases = {
        "has over": {**right, "readout.npy": np.ones(10_000, np.float32)},
        "differs in": {k: v for k, v in right.items() if "w" not in k},
        "arrays, and differs in": {**right, "more.npy": nan},
        r"is float32 \(5,\), not float32 \(4,\)": {**right, "readout.npy": np.ones(5, np.float32)},
        "is float64": {**right, "readout.npy": np.ones(4)},
        "is >f4": {**right, "readout.npy": np.ones(4, ">f4")},
        "Fortran": {**right, "model/w.npy": np.asfortranarray(right["model/w.npy"])},
        "not finite": {**right, "readout.npy": nan},
        r"is float32 \(1099511627776,\)": {**right, "readout.npy": huge.getvalue()},
        "is object": {**right, "readout.npy": of_objects.getvalue()},
        "magic": {**right, "readout.npy": b"nothing of the kind"},
    }
    for message, content in cases.items():
        archive(path, content.items())
        with pytest.raises(ValueError, match=message) as e:
            weights.read_weights(path, LIKE)
        assert "\n" not in str(e.value) and str(path) in str(e.value)
    with pytest.raises(ValueError, match=r"^readout\.npy has numbers that are not finite"):
        weights.write_weights(path, {**PARAMS, "readout": nan})
    with pytest.raises(ValueError, match="not a file"):
        weights.read_weights(path.parent, LIKE)
    with pytest.raises(FileNotFoundError):
        weights.read_weights(path.parent / "nowhere", LIKE)


def test_a_bomb_is_not_inflated(path):
    content = {**arrays(), "readout.npy": bytes(2**26)}
    archive(path, content.items(), zipfile.ZIP_DEFLATED)
    with mock.patch("zlib.decompressobj", side_effect=AssertionError), pytest.raises(ValueError):
        weights.read_weights(path, LIKE)
    content = {**arrays(), "readout.npy": bytes(2**20)}  # short enough to be read
    archive(path, content.items(), zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="is compressed"):
        weights.read_weights(path, LIKE)


@settings(max_examples=200)
@given(data=st.data())
def test_damaged_files_are_read_or_refused(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "mutated.npz"
    weights.write_weights(path, PARAMS)
    path.write_bytes(data.draw(mutated(path.read_bytes())))
    with refusal(path):
        found = weights.read_weights(path, LIKE)
        assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, PARAMS)


def test_other_weights_do_not_reach_the_figure(tmp_path, monkeypatch):
    """So much for the test of the figures: it fails where the weights are others."""
    _, params = zoo.load("digits")
    for part in ("json", "npz"):
        (tmp_path / f"digits.{part}").write_bytes((zoo.TRAINED / f"digits.{part}").read_bytes())
    params["readout"]["kernel"] = -params["readout"]["kernel"]
    weights.write_weights(tmp_path / "digits.npz", params)
    monkeypatch.setattr(released, "TRAINED", tmp_path)
    with pytest.raises(AssertionError):
        test_the_weights_reach_their_figure_on_fresh_data("digits")


def test_loading_needs_the_core_only():
    load = "import sys; from tlstm_jax import zoo; zoo.load('memorization')"
    code = f"{load}; print(sorted(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "'tlstm_jax.zoo'" in ran.stdout, ran.stderr
    for heavy in (
        "orbax",
        "absl.app",
        "matplotlib",
        "sklearn",
        "tlstm_jax.tasks",
        "tlstm_jax.scripts",
    ):
        assert f"'{heavy}'" not in ran.stdout


def test_an_installation_has_them(tmp_path):
    pytest.importorskip("setuptools")
    build = [
        "setup.py",
        "-q",
        "build",
        f"--build-base={tmp_path}",
        f"--build-lib={tmp_path / 'lib'}",
    ]
    subprocess.run([sys.executable, *build], check=True, capture_output=True, cwd=ROOT)
    there = (tmp_path / "lib/tlstm_jax/zoo/trained").iterdir()
    assert {p.name for p in there} == {f"{n}.{end}" for n in NAMES for end in ("json", "npz")}


@pytest.mark.slow
def test_one_command_makes_a_trained_model(program, tmp_path):
    small = ("--model=elman", "--features=4", "--num_steps=4", "--warmup_steps=1", "--eval_every=2")
    small += ("--checkpoint_every=2", "--steps_per_call=1", "--eval_samples=20")
    flags = ("--name=addition", *small, f"--workdir={tmp_path / 'run'}", f"--folder={tmp_path}")
    out = program("release", *flags, "--max_minutes=1e-9").stdout
    assert "not finished" in out and not (tmp_path / "addition.json").exists()
    assert "released" in program("release", *flags).stdout
    card = json.loads((tmp_path / "addition.json").read_text())
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert card["test"] == results["test"]
    assert card["command"].startswith("python -m scripts.release --name=addition --features=4 ")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "addition.json",
        "addition.npz",
        "run",
    ]
    with mock.patch.object(released, "TRAINED", tmp_path):
        model, _ = zoo.load("addition")
    assert zoo.count_parameters(model) == card["parameters"] == results["parameters"]

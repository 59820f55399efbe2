"""`python -m scripts.accelerator`, at small sizes on the CPU."""

import json

import chex
import pytest

from tlstm_jax.scripts.accelerator import equality, speed
from tlstm_jax.scripts.accelerator.record import Clock, Record


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_a_short_run_writes_what_it_gets_to(program, tmp_path):
    program("accelerator", "--small", "--seconds=1", f"--out={tmp_path}", "--parts=equality")
    found = rows(tmp_path / "results.jsonl")
    assert found[0]["part"] == "device"
    resumed = found[1]
    assert resumed["loss on the CPU"] == resumed["loss on both"]
    assert all("left_out" in row for row in found[2:]) and len(found) > 20


def test_a_part_that_there_is_not(program, tmp_path):
    ran = program("accelerator", "--parts=sped", f"--out={tmp_path}", code=1)
    assert ran.stderr == "error: --parts names 'sped'; accepted are equality, speed, trainings\n"


def test_a_model_equals_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(equality.zoo, "MODELS", {"gru": equality.zoo.MODELS["gru"]})
    equality.models(Record(tmp_path / "r"), Clock(100))
    (row,) = rows(tmp_path / "r")
    kinds = ("outputs", "with lengths", "gradients", "stream", "generation")
    assert {row[f"{kind}, {p}"] for kind in kinds for p in ("highest", "default")} == {0.0}


@pytest.mark.slow
def test_a_row_that_fails_is_said_and_the_next_is_begun(tmp_path, monkeypatch):
    (size,) = speed.SMALL
    kept = {k: v for k, v in speed.forms(size).items() if k in ("LSTM", "LSTM, cudnn")}
    monkeypatch.setattr(speed, "forms", lambda size: kept)
    speed.sizes(Record(tmp_path / "r"), Clock(100), small=True)
    found = {row["name"]: row for row in rows(tmp_path / "r")}
    assert "engine is 'cudnn'" in found["LSTM, cudnn"]["failed"]
    assert found["LSTM"]["ms"] > 0 and found["LSTM"]["B"] == size.B


@pytest.mark.slow
def test_every_form_computes_the_same_gradient():
    (size,) = speed.SMALL
    forms = speed.forms(size)
    kept = [name for name in forms if name.startswith("2D+CN") and "fused" not in name]
    results = [speed._step(forms[name], None, size).call() for name in kept[:4]]
    losses = [float(loss) for loss, _ in results]
    assert max(losses) - min(losses) < 1e-6 and losses[0] > 0
    for _, gradients in results[1:]:
        chex.assert_trees_all_close(gradients, results[0][1], atol=1e-6)

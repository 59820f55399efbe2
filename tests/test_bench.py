"""The benchmark: what it counts as work, its rows at small sizes, its errors."""

import json
import pathlib
import subprocess
import sys

import pytest

from tlstm_jax.scripts.bench import measure, report, sections, sweeps, work
from tlstm_jax.scripts.bench.sections import Size

ROOT = pathlib.Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("shape", "kernel_size", "taps"),
    [
        ((1,), 3, 2),  # the input's corner and itself
        ((3,), 3, 8),  # the last location has none behind it
        ((3,), 2, 6),
        ((2, 2), 2, 10),  # 4 themselves, 2 + 2 neighbours, 1 diagonal, the corner
    ],
)
def test_taps_inside_the_tensor(shape, kernel_size, taps):
    assert work.inner_taps(shape, kernel_size) == taps


def test_work_of_a_stacked_lstm_and_of_a_tensor_without_feedback_are_alike():
    B, M, T, L = 2, 10, 3, 4
    without_taps = work.tlstm_flops(B, M, T, (L,), 2) - T * B * 2 * M * M
    assert without_taps * 4 * M == work.lstm_flops(B, M, T, L) * (4 * M + 2)


def test_turns_are_equal_and_the_median_is_taken():
    calls = []
    contenders = [
        measure.Contender(name, lambda name=name: calls.append(name), 1e9) for name in "ab"
    ]
    measure.in_turns(contenders, seconds=0.0, least=2)
    assert calls == ["a", "b"] * 3 and all(len(c.seconds) == 2 for c in contenders)
    contenders[0].seconds = [1.0, 2.0, 9.0]
    assert contenders[0].gflops == 0.5


@pytest.mark.slow
def test_rows_of_small_sizes(tmp_path):
    size = Size(2, 4, 3, 2)
    rows = [
        *sections.lstm_cell(size, ("flax",), 0.0),
        *sections.maps((3, 2, 4, 1), 2, ("flax",), 0.0),
        *sections.generation((2,), 0.0),
        *sweeps.sweeps("tlstm", {"features": 4, "tensor_shape": (2,)}, 0.0),
    ]
    names = [
        "LSTM",
        "Flax RNN",
        "ConvLSTM",
        "ConvLSTM, engine=scan",
        "Flax ConvLSTMCell",
        "in waves",
        "L steps per token",
        "tlstm, in turn",
        "tlstm, together",
    ]
    assert [row["name"] for row in rows] == names
    for row in rows:
        assert row["ms"] > 0 and row["name"] in report.line(row)
        assert report.line(row).count("|") == report.header(row["section"]).count("|") / 2
    report.write(tmp_path / "bench.json", rows)
    assert json.loads((tmp_path / "bench.json").read_text())["rows"] == json.loads(json.dumps(rows))


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--sections=all", "--sections names 'all'; accepted are training, depth"),
        ("--sizes=6", "--sizes names '6'; accepted are 1, 2, 3, 4, 5"),
        ("--peers=keras", "--peers names 'keras'; accepted are torch, flax"),
    ],
)
def test_refuses_what_it_does_not_know(flag, text):
    command = [sys.executable, "-m", "scripts.bench", flag]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 1 and text in ran.stderr and "Traceback" not in ran.stderr

import math

import numpy as np
import pytest

from tlstm_jax.sweeps.search import Halving, LogUniform, Uniform, chunks, grid, random_search


def test_a_grid_has_all_combinations_with_the_last_name_running_fastest():
    points = grid({"learning_rate": (1e-3, 3e-3), "seed": range(2)})
    assert points == [
        {"learning_rate": 1e-3, "seed": 0},
        {"learning_rate": 1e-3, "seed": 1},
        {"learning_rate": 3e-3, "seed": 0},
        {"learning_rate": 3e-3, "seed": 1},
    ]
    (value,) = grid({"dropout": np.array([0.5])})[0].values()
    assert type(value) is float


def test_random_search_draws_within_its_ranges_and_again_the_same():
    space = {
        "learning_rate": LogUniform(1e-4, 1e-1),
        "dropout": Uniform(0.1, 0.5),
        "features": [20, 40],
        "seed": range(3),
    }
    points = random_search(space, 200, seed=7)
    assert points == random_search(space, 200, seed=7) != random_search(space, 200, seed=8)
    assert len(points) == 600
    assert [p["seed"] for p in points[:6]] == [0, 1, 2, 0, 1, 2]
    assert points[0]["learning_rate"] == points[2]["learning_rate"] != points[3]["learning_rate"]
    rates = np.array([p["learning_rate"] for p in points[::3]])
    assert rates.min() >= 1e-4 and rates.max() <= 1e-1
    # A third of the draws in each decade, 67 of 200: four standard deviations are 27.
    assert all(40 < ((rates >= low) & (rates < 10 * low)).sum() < 94 for low in (1e-4, 1e-3, 1e-2))
    dropout = np.array([p["dropout"] for p in points[::3]])
    assert dropout.min() >= 0.1 and dropout.max() <= 0.5 and abs(dropout.mean() - 0.3) < 0.04
    assert {p["features"] for p in points} == {20, 40}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grid({"a": Uniform(0, 1)}), "a is Uniform.* accepted in a grid are values"),
        (lambda: grid({"a": []}), "a has no values"),
        (lambda: grid({"a": "text"}), "a is 'text'; accepted is a list"),
        (lambda: grid({"a": 3}), "a is 3; accepted is a list"),
        (lambda: random_search({"a": [1]}, 0), "samples is 0"),
        (lambda: Uniform(1, 1), "low is 1, high is 1"),
        (lambda: LogUniform(0, 1), "low is 0; accepted by LogUniform"),
        (lambda: Uniform(math.nan, 1), "low is nan"),
        (lambda: Halving(1, 10), "factor is 1"),
        (lambda: Halving(2, 15).rungs(100, 10), "min_steps is 15; accepted are multiples"),
        (lambda: chunks([1], 0), "chunk is 0"),
    ],
)
def test_what_cannot_be_searched_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_halving_keeps_the_best_and_ends_at_the_last_step():
    halving = Halving(3, 10)
    assert halving.rungs(100, 10) == [10, 30, 90, 100]
    assert halving.rungs(90, 10) == [10, 30, 90]
    assert halving.survivors({4: 0.1, 5: math.nan, 6: 0.3, 7: 0.2}) == [6, 7]
    assert halving.survivors({4: math.nan, 5: math.nan}) == [4]
    assert halving.survivors({1: 0.5, 0: 0.5, 2: 0.1}) == [1]


def test_chunks_are_as_equal_as_can_be():
    assert chunks(range(10), 4) == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert chunks([3, 5], None) == [[3, 5]]
    assert chunks([], 4) == []

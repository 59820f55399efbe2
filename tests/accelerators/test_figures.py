"""What a step of the main cells' loops takes on accelerators, held to a table."""

import pytest

from tests.accelerators.figures import CELLS, GPU, TPU, main_figures, most
from tests.accelerators.programs import skip_without

pytestmark = pytest.mark.accelerators


@pytest.mark.parametrize("target", [GPU, TPU])
@pytest.mark.parametrize("cell", CELLS)
def test_a_step_of_the_loops_over_time_takes_no_more_than_the_table_says(cell, target):
    skip_without(target)
    for way, now, limit in zip(
        ("forward", "backward"), main_figures(cell, target), most(cell, target), strict=True
    ):
        assert now.kernels <= limit.kernels, f"{way}: {now}"
        assert (now.launches or 0) <= (limit.launches or 0), f"{way}: {now}"

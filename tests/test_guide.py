"""The guide's examples, which are to be read from top to bottom: each page is one session."""

import doctest
import pathlib
import re

import jax
import pytest

GUIDE = pathlib.Path(__file__).parent.parent / "docs" / "guide"


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(path.name for path in GUIDE.glob("*.md")))
def test_a_pages_examples_run(page):
    blocks = re.findall(r"^```python\n(.*?)^```", (GUIDE / page).read_text(), re.S | re.M)
    assert blocks
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, page, page, 0)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert doctest.DocTestRunner(verbose=False).run(test).failed == 0

"""The examples in the docstrings."""

import doctest
import importlib
import inspect
import pkgutil

import jax
import pytest

import tlstm_jax
from tlstm_jax import convert, linen, nnx

MODULES = [m.name for m in pkgutil.walk_packages(tlstm_jax.__path__, "tlstm_jax.")]

SHORT = ["tlstm_jax.network", "tlstm_jax.cells.lstm", "tlstm_jax.recurrence.unrolling"]


@pytest.mark.slow(but=SHORT)
@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    # Flax's own RNN relies on implicit promotion.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert doctest.testmod(importlib.import_module(name)).failed == 0


def public(module):
    """The classes and functions that are defined there."""
    for name, value in vars(module).items():
        own = getattr(value, "__module__", None) == module.__name__
        if own and callable(value) and not name.startswith("_"):
            yield f"{module.__name__}.{name}", value


EXPORTED = {name: getattr(tlstm_jax, name) for name in tlstm_jax.__all__}
EXPORTED |= {f"tlstm_jax.convert.{name}": getattr(convert, name) for name in convert.__all__}
EXPORTED |= {name: value for adapter in (linen, nnx) for name, value in public(adapter)}


@pytest.mark.parametrize("name", EXPORTED)
def test_every_exported_name_has_an_example_that_names_it(name):
    examples = doctest.DocTestParser().get_examples(inspect.getdoc(EXPORTED[name]) or "")
    having = [example for example in examples if name.rpartition(".")[2] in example.source]
    assert having, f"the docstring of {name} has no example, in lines with >>>, that names it"

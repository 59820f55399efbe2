"""The examples in the docstrings."""

import doctest
import importlib
import pkgutil

import jax
import pytest

import tlstm_jax

MODULES = [m.name for m in pkgutil.walk_packages(tlstm_jax.__path__, "tlstm_jax.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    # Flax's own RNN relies on implicit promotion.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert doctest.testmod(importlib.import_module(name)).failed == 0

"""What every task of the catalogue has: a case, a run of the programs, an example that runs."""

import doctest
import inspect
import sys

import jax
import pytest
import test_scripts
from task_cases import CASES, function_of

from tlstm_jax.tasks import base
from tlstm_jax.tasks.catalogue import TASKS

MODULES = {function_of(task).__module__ for task in TASKS.values()}


def test_every_task_has_a_case():
    missing = set(TASKS) - {case.name for case in CASES}
    assert not missing, "these have no row in CASES of tests/task_cases.py"


def test_a_task_of_every_kind_is_trained_by_the_programs():
    made = {function_of(TASKS[name]) for name in test_scripts.TASKS}
    missing = {name for name, task in TASKS.items() if function_of(task) not in made}
    assert not missing, "these have no row in TASKS of tests/test_scripts.py"


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_an_example(name):
    function = function_of(TASKS[name])
    examples = doctest.DocTestParser().get_examples(inspect.getdoc(function) or "")
    assert examples, f"the docstring of {function.__name__} has no example, in lines with >>>"


@pytest.mark.slow(but=["tlstm_jax.tasks.memorization", "tlstm_jax.tasks.images"])
@pytest.mark.parametrize("module", sorted({*MODULES, base.__name__}))
def test_the_examples_run(module):
    with jax.numpy_rank_promotion("allow"):
        found = doctest.testmod(sys.modules[module])
    assert found.attempted and not found.failed

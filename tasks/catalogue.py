"""The tasks by name."""

from collections.abc import Callable, Mapping

from tlstm_jax.tasks.adding import Adding
from tlstm_jax.tasks.addition import addition
from tlstm_jax.tasks.associative_recall import AssociativeRecall
from tlstm_jax.tasks.char_lm import char_lm
from tlstm_jax.tasks.copying import copy
from tlstm_jax.tasks.images import digits, fashion_mnist, mnist, pdigits, pfashion_mnist, pmnist
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.tasks.transduction import duplication, reversal
from tlstm_jax.typing import Task

TASKS: Mapping[str, Callable[..., Task]] = {
    "addition": addition,
    "memorization": memorization,
    "copy": copy,
    "duplication": duplication,
    "reversal": reversal,
    "associative_recall": AssociativeRecall,
    "adding": Adding,
    "mnist": mnist,
    "pmnist": pmnist,
    "fashion_mnist": fashion_mnist,
    "pfashion_mnist": pfashion_mnist,
    "digits": digits,
    "pdigits": pdigits,
    "char_lm": char_lm,
}

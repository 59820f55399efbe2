"""The tasks by name."""

from collections.abc import Callable, Mapping

from tlstm_jax.tasks.adding import Adding
from tlstm_jax.tasks.addition import addition
from tlstm_jax.tasks.associative_recall import AssociativeRecall
from tlstm_jax.tasks.brackets import BalancedBrackets, Dyck
from tlstm_jax.tasks.char_lm import char_lm
from tlstm_jax.tasks.cifar import cifar10, pcifar10
from tlstm_jax.tasks.copying import copy
from tlstm_jax.tasks.images import digits, fashion_mnist, mnist, pdigits, pfashion_mnist, pmnist
from tlstm_jax.tasks.induction_copy import induction_copy
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.tasks.moving_digits import moving_digits
from tlstm_jax.tasks.multi_query_recall import MultiQueryRecall
from tlstm_jax.tasks.pixels import pixels_digits, pixels_mnist
from tlstm_jax.tasks.rows import (
    prows_digits,
    prows_fashion_mnist,
    prows_mnist,
    rows_digits,
    rows_fashion_mnist,
    rows_mnist,
)
from tlstm_jax.tasks.state_tracking import ModularCounter, Parity, StateTracking
from tlstm_jax.tasks.transduction import duplication, reversal
from tlstm_jax.typing import Task

TASKS: Mapping[str, Callable[..., Task]] = {
    "addition": addition,
    "memorization": memorization,
    "copy": copy,
    "duplication": duplication,
    "reversal": reversal,
    "associative_recall": AssociativeRecall,
    "multi_query_recall": MultiQueryRecall,
    "induction_copy": induction_copy,
    "state_tracking": StateTracking,
    "parity": Parity,
    "modular_counter": ModularCounter,
    "dyck": Dyck,
    "balanced_brackets": BalancedBrackets,
    "adding": Adding,
    "mnist": mnist,
    "pmnist": pmnist,
    "fashion_mnist": fashion_mnist,
    "pfashion_mnist": pfashion_mnist,
    "digits": digits,
    "pdigits": pdigits,
    "cifar10": cifar10,
    "pcifar10": pcifar10,
    "rows_mnist": rows_mnist,
    "prows_mnist": prows_mnist,
    "rows_fashion_mnist": rows_fashion_mnist,
    "prows_fashion_mnist": prows_fashion_mnist,
    "rows_digits": rows_digits,
    "prows_digits": prows_digits,
    "moving_digits": moving_digits,
    "pixels_mnist": pixels_mnist,
    "pixels_digits": pixels_digits,
    "char_lm": char_lm,
}

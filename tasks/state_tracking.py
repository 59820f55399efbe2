"""State tracking: the state of a finite automaton after every symbol.

Merrill, Petty and Sabharwal, "The Illusion of State in State-Space Models", ICML 2024: the product
of all permutations so far. Over S5 or A5 it is complete for NC1, which no linear recurrence of a
diagonal transition computes at every length with a fixed number of layers; S3 and the cyclic groups
can be solved. Here with permutations of 3 places, written as their images:

    input   <213> <231> <213> <312>
    target  <213> <321> <312> <231>

Deletang et al., "Neural Networks and the Chomsky Hierarchy", ICLR 2023, have parity, and a counter:

    parity  0 1 1 0 1       counter of 3   + + 0 - +
    target  0 1 0 0 1       target         1 2 2 1 2
"""

import abc
import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from tlstm_jax.tasks.base import BaseTask
from tlstm_jax.tasks.synthetic import check_sizes
from tlstm_jax.tasks.words import numerals
from tlstm_jax.typing import Array, Batch

_PLACES = {"s3": 3, "s4": 4, "s5": 5, "a4": 4, "a5": 5}  # s: all permutations, a: the even ones


@dataclasses.dataclass(frozen=True)
class Automaton(BaseTask, abc.ABC):
    """Symbols drawn uniformly; the target is the state after each of them, from state 0.

    Attributes:
      sequence_length: T, symbols in a sequence.
      eval_samples: fresh samples of an evaluation.
    """

    sequence_length: int = 32
    batch_size: int = 64
    eval_samples: int = 1000
    eval_batch_size: int = 250

    tokens = True
    metric = "accuracy"
    target = 0.99
    length_setting = "sequence_length"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(sequence_length=self.sequence_length)

    @property
    @abc.abstractmethod
    def table(self) -> np.ndarray:
        """int32 [states, symbols], the state that follows."""

    @property
    def input_size(self) -> int:
        return self.table.shape[1]

    @property
    def output_size(self) -> int:
        return self.table.shape[0]

    def draw(self, key: Array, batch_size: int) -> Batch:
        """Fresh samples: inputs, targets and mask [T, B], where everything is scored."""
        shape = (self.sequence_length, batch_size)
        inputs = jax.random.randint(key, shape, 0, self.input_size, jnp.int32)
        table = jnp.asarray(self.table)

        def step(state: Array, symbol: Array) -> tuple[Array, Array]:
            state = table[state, symbol]
            return state, state

        _, targets = jax.lax.scan(step, jnp.zeros(batch_size, jnp.int32), inputs)
        return Batch(inputs, targets, mask=jnp.ones(shape, bool))


@dataclasses.dataclass(frozen=True)
class StateTracking(Automaton):
    """The product of all permutations so far.

    Attributes:
      group: s3, s4, s5: all permutations of so many places; a4, a5: the even ones.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax.tasks.state_tracking import StateTracking
      >>> task = StateTracking(group="s3", sequence_length=4)
      >>> batch = task.train_batch((), jax.random.key(0), jnp.int32(0), 0)
      >>> batch.inputs.shape, task.text(batch.inputs[:, 0]), task.text(batch.targets[:, 0])
      ((4, 64), '<132><123><321><231>', '<132><132><312><123>')
    """

    group: str = "s5"

    name = "state_tracking"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.group not in _PLACES:
            raise ValueError(f"group is {self.group!r}; accepted are {', '.join(_PLACES)}")

    @property
    def table(self) -> np.ndarray:
        return _products(self.group)

    @property
    def token_names(self) -> tuple[str, ...]:
        images = _elements(self.group)
        return tuple(f"<{''.join(str(image + 1) for image in p)}>" for p in images)


@dataclasses.dataclass(frozen=True)
class Parity(Automaton):
    """Whether the number of ones so far is odd.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax.tasks.state_tracking import Parity
      >>> task = Parity(sequence_length=8)
      >>> batch = task.train_batch((), jax.random.key(0), jnp.int32(0), 0)
      >>> batch.inputs.shape, task.text(batch.inputs[:, 0]), task.text(batch.targets[:, 0])
      ((8, 64), '10110010', '11011100')
    """

    name = "parity"

    @property
    def table(self) -> np.ndarray:
        return np.array([[0, 1], [1, 0]], np.int32)


@dataclasses.dataclass(frozen=True)
class ModularCounter(Automaton):
    """A counter that goes up, down, or stays, modulo a number.

    Attributes:
      modulus: the number of its states.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax.tasks.state_tracking import ModularCounter
      >>> task = ModularCounter(modulus=3, sequence_length=8)
      >>> batch = task.train_batch((), jax.random.key(0), jnp.int32(0), 0)
      >>> question = task.text(batch.inputs[:, 0])
      >>> batch.inputs.shape, question, task.answer(batch.inputs[:, 0], batch.targets[:, 0])
      ((8, 64), '0-+--+0+', '02021220')
    """

    modulus: int = 5

    name = "modular_counter"
    token_names = ("-", "0", "+")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.modulus <= 1000:
            raise ValueError(f"modulus is {self.modulus}; accepted are 2 to 1000")

    @property
    def table(self) -> np.ndarray:
        state, change = np.ogrid[: self.modulus, -1:2]
        return ((state + change) % self.modulus).astype(np.int32)

    @property
    def class_names(self) -> tuple[str, ...]:
        return numerals(self.modulus)


def _elements(group: str) -> list[tuple[int, ...]]:
    """The permutations of a group as images of 0, 1, .., the identity first."""
    permutations = itertools.permutations(range(_PLACES[group]))
    return [p for p in permutations if group[0] == "s" or not _inversions(p) % 2]


def _inversions(p: tuple[int, ...]) -> int:
    return sum(a > b for a, b in itertools.combinations(p, 2))


@functools.cache
def _products(group: str) -> np.ndarray:
    """[n, n]: of p so far and a new q, q after p."""
    elements = _elements(group)
    number = {p: n for n, p in enumerate(elements)}
    table = [[number[tuple(q[image] for image in p)] for q in elements] for p in elements]
    table = np.array(table, np.int32)
    table.flags.writeable = False  # it is shared
    return table

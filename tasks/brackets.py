"""Languages of brackets: which one has to close, and whether all of them do.

Hewitt, Hahn, Ganguli, Liang and Manning, "RNNs Can Generate Bounded Hierarchical Languages with
Optimal Memory", EMNLP 2020, have Dyck-(k, m), strings of k kinds of brackets nested at most m deep.
After every symbol the target is the bracket that may close next, `.` where none is open:

    input   ( [ ] ( ) ) [
    target  ) ] ) ) ) . ]

Suzgun, Belinkov, Shieber and Gehrmann, "LSTM Networks Can Perform Dynamic Counting", 2019: whether
an entire string, of any depth, is balanced.

    ([]())[]  yes        ([)]()[]  no
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax.tasks.base import BaseTask
from tlstm_jax.tasks.scoring import CROSS_ENTROPY, score
from tlstm_jax.tasks.synthetic import check_sizes
from tlstm_jax.typing import Array, Batch, Sums

OPENING, CLOSING = "([{<", ")]}>"


@dataclasses.dataclass(frozen=True)
class Dyck(BaseTask):
    """Prefixes of bounded depth: which bracket may close after each symbol.

    Where both are possible a bracket opens with probability 1/2.

    Attributes:
      num_kinds: k, 1 to 4.
      max_depth: m, how deep brackets nest.
      sequence_length: T.
      eval_samples: fresh samples of an evaluation.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax.tasks.brackets import Dyck
      >>> task = Dyck(sequence_length=8)
      >>> batch = task.train_batch((), jax.random.key(0), jnp.int32(0), 0)
      >>> question = task.text(batch.inputs[:, 0])
      >>> batch.inputs.shape, question, task.answer(batch.inputs[:, 0], batch.targets[:, 0])
      ((8, 64), '[]()([](', '].).)]))')
    """

    num_kinds: int = 2
    max_depth: int = 8
    sequence_length: int = 64
    batch_size: int = 64
    eval_samples: int = 1000
    eval_batch_size: int = 250

    name = "dyck"
    tokens = True
    metric = "accuracy"
    target = 0.99
    length_setting = "sequence_length"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self)
        check_sizes(max_depth=self.max_depth, sequence_length=self.sequence_length)

    @property
    def input_size(self) -> int:
        return 2 * self.num_kinds

    @property
    def output_size(self) -> int:
        return self.num_kinds + 1

    @property
    def token_names(self) -> tuple[str, ...]:
        return _names(self.num_kinds)

    @property
    def class_names(self) -> tuple[str, ...]:
        return (*CLOSING[: self.num_kinds], ".")

    def draw(self, key: Array, batch_size: int) -> Batch:
        """Fresh samples: inputs, targets and mask [T, B], where everything is scored."""
        shape, k = (self.sequence_length, batch_size), self.num_kinds
        of_kinds, of_opening = jax.random.split(key)
        kinds = jax.random.randint(of_kinds, shape, 0, k, jnp.int32)
        opening = jax.random.bernoulli(of_opening, 0.5, shape)

        def step(stack: Stack, drawn: tuple[Array, Array]) -> tuple[Stack, tuple[Array, Array]]:
            kind, opens = drawn
            opens = (opens | (stack.depth == 0)) & (stack.depth < self.max_depth)
            symbol = jnp.where(opens, kind, k + stack.top)
            stack = stack.read(symbol, k)
            return stack, (symbol, jnp.where(stack.depth > 0, stack.top, k))

        stack = Stack.empty(batch_size, self.max_depth)
        _, (inputs, targets) = jax.lax.scan(step, stack, (kinds, opening))
        return Batch(inputs, targets, mask=jnp.ones(shape, bool))


@dataclasses.dataclass(frozen=True)
class BalancedBrackets(BaseTask):
    """Whether a string is balanced, as half of them are.

    These are drawn uniformly from all balanced strings. The others are made of such ones and have as
    many of every symbol: two brackets of different kinds have changed places, or two parts.

    Attributes:
      num_kinds: of brackets, 1 to 4.
      sequence_length: T, an even number.
      eval_samples: fresh samples of an evaluation.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax.tasks.brackets import BalancedBrackets
      >>> task = BalancedBrackets(sequence_length=8)
      >>> batch = task.train_batch((), jax.random.key(0), jnp.int32(0), 0)
      >>> [(task.text(batch.inputs[:, i]), task.class_names[batch.targets[0, i]]) for i in (0, 1)]
      [('[[]([])]', 'yes'), ('(()][)()', 'no')]
    """

    num_kinds: int = 2
    sequence_length: int = 32
    batch_size: int = 64
    eval_samples: int = 1000
    eval_batch_size: int = 250

    name = "balanced_brackets"
    output_size = 2
    tokens = True
    last_only = True
    metric = "accuracy"
    target = 0.99
    length_setting = "sequence_length"
    metric_labels = CROSS_ENTROPY
    class_names = ("no", "yes")

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self)
        if self.sequence_length < 2 or self.sequence_length % 2:
            raise ValueError(
                f"sequence_length is {self.sequence_length}; accepted are even integers >= 2"
            )

    @property
    def input_size(self) -> int:
        return 2 * self.num_kinds

    @property
    def token_names(self) -> tuple[str, ...]:
        return _names(self.num_kinds)

    def draw(self, key: Array, batch_size: int) -> Batch:
        """Fresh samples: inputs [T, B], targets and mask [1, B]."""
        B, k = batch_size, self.num_kinds
        of_strings, of_changes, of_targets = jax.random.split(key, 3)
        inputs = _balanced(of_strings, B, self.sequence_length, k)
        targets = jax.random.bernoulli(of_targets, 0.5, (1, B))
        inputs = jnp.where(targets, inputs, _unbalanced(of_changes, inputs, k))
        targets = targets.astype(jnp.int32)
        return Batch(inputs, targets, mask=jnp.ones_like(targets, bool))

    def metrics(self, logits: Array, batch: Batch) -> Sums:
        """The loss (nats) and the accuracy per string; logits [1, B, 2]."""
        sums = score(logits, batch)
        return {name: sums[name] for name in ("loss", "accuracy")}


class Stack(NamedTuple):
    """Open brackets of a batch.

    Attributes:
      kinds: int32 [D, B], the lowest first.
      depth: int32 [B], at most D.
    """

    kinds: Array
    depth: Array

    @classmethod
    def empty(cls, batch_size: int, max_depth: int) -> "Stack":
        kinds = jnp.zeros((max_depth, batch_size), jnp.int32)
        return cls(kinds, jnp.zeros(batch_size, jnp.int32))

    @property
    def top(self) -> Array:
        """The kind of the innermost open bracket, [B]; anything where there is none."""
        level = jnp.clip(self.depth - 1, 0, self.kinds.shape[0] - 1)
        return jnp.take_along_axis(self.kinds, level[None], axis=0)[0]

    def read(self, symbol: Array, num_kinds: int) -> "Stack":
        """The stack after a symbol [B]: kind k opens as k, and whatever is num_kinds or more closes."""
        opens = symbol < num_kinds
        level = jnp.arange(self.kinds.shape[0], dtype=jnp.int32)[:, None]
        pushed = opens[None] & (level == self.depth[None])
        kinds = jnp.where(pushed, symbol[None], self.kinds)
        return Stack(kinds, self.depth + jnp.where(opens, 1, -1))


def _balanced(key: Array, batch_size: int, length: int, num_kinds: int) -> Array:
    """[T, B], uniformly distributed over all balanced strings.

    Arnold and Sleep, "Uniform Random Generation of Balanced Parenthesis Strings", 1980: with r
    symbols left and d brackets open, one opens with probability (d + 2) (r - d) / (2 r (d + 1)).
    """
    of_kinds, of_opening = jax.random.split(key)
    kinds = jax.random.randint(of_kinds, (length, batch_size), 0, num_kinds, jnp.int32)
    uniform = jax.random.uniform(of_opening, (length, batch_size))
    left = jnp.arange(length, 0, -1, dtype=jnp.int32)

    def step(stack: Stack, drawn: tuple[Array, Array, Array]) -> tuple[Stack, Array]:
        kind, u, r = drawn
        d = stack.depth
        opens = u * (2 * r * (d + 1)).astype(u.dtype) < ((d + 2) * (r - d)).astype(u.dtype)
        symbol = jnp.where(opens, kind, num_kinds + stack.top)
        return stack.read(symbol, num_kinds), symbol

    return jax.lax.scan(step, Stack.empty(batch_size, length // 2), (kinds, uniform, left))[1]


def _unbalanced(key: Array, symbols: Array, num_kinds: int) -> Array:
    """Strings [T, B] with as many of every symbol as these balanced ones, none of them balanced.

    Either two closing brackets of different kinds have changed places, so that neither closes its
    own, or, where there are no such two and in each second one, its second part within a bracket
    stands before the first.
    """
    T, B = symbols.shape
    of_start, of_first, of_second, of_way = jax.random.split(key, 4)
    opens = symbols < num_kinds
    depth = jnp.cumsum(jnp.where(opens, 1, -1), axis=0)
    step = jnp.broadcast_to(jnp.arange(T, dtype=jnp.int32)[:, None], (T, B))
    start = _any(of_start, depth > 0) + 1
    turned = jnp.take_along_axis(symbols, (step + start) % T, axis=0)
    first = _any(of_first, ~opens)
    at_first = jnp.take_along_axis(symbols, first, axis=0)
    others = ~opens & (symbols != at_first)
    second = _any(of_second, others)
    at_second = jnp.take_along_axis(symbols, second, axis=0)
    exchanged = jnp.where(step == first, at_second, symbols)
    exchanged = jnp.where(step == second, at_first, exchanged)
    exchange = jnp.any(others, axis=0) & jax.random.bernoulli(of_way, 0.5, (B,))
    return jnp.where(exchange[None], exchanged, turned)


def _any(key: Array, places: Array) -> Array:
    """For each column of bool [T, B] the number of one of its places, [1, B]."""
    draws = jax.random.uniform(key, places.shape)
    return jnp.argmax(jnp.where(places, draws, -1.0), axis=0, keepdims=True)


def _names(num_kinds: int) -> tuple[str, ...]:
    return (*OPENING[:num_kinds], *CLOSING[:num_kinds])


def _check(task: Dyck | BalancedBrackets) -> None:
    if not 1 <= task.num_kinds <= len(OPENING):
        raise ValueError(f"num_kinds is {task.num_kinds}; accepted are 1 to {len(OPENING)}")

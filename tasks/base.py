"""The base of a user's own task: `tlstm_jax.typing.Task` except its sizes, batches and metric."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from tlstm_jax.tasks.scoring import CROSS_ENTROPY, score
from tlstm_jax.tasks.words import encode, numerals
from tlstm_jax.typing import Array, Batch, InputShape, PyTree, Sums, Task


class derived:  # noqa: N801
    """A read-only attribute computed from others, which a subclass may also have as a field.

    A dataclass takes a property of its base for the default of its field, and cannot set it.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function, self.__doc__ = function, function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, task: Any, owner: type | None = None) -> Any:
        if task is None:
            raise AttributeError(f"{self.name} is an attribute of a task, not of its class")
        return self.function(task)


class BaseTask:
    """A base for tasks: frozen dataclasses of settings.

    A task defines `input_size`, `output_size` and `batch_size`, and `metrics` if its loss is not
    masked classification. One without data draws fresh samples with `draw`:

    >>> import dataclasses, jax, jax.numpy as jnp
    >>> from tlstm_jax.typing import Batch
    >>> @dataclasses.dataclass(frozen=True)
    ... class Parity(BaseTask):
    ...     length: int = 8
    ...     batch_size: int = 32
    ...     input_size = output_size = 2
    ...     tokens = True
    ...     metric = "accuracy"
    ...
    ...     def draw(self, key, batch_size):
    ...         bits = jax.random.bernoulli(key, 0.5, (self.length, batch_size)).astype(jnp.int32)
    ...         return Batch(bits, jnp.cumsum(bits, axis=0) % 2, mask=jnp.ones_like(bits, bool))
    >>> task = Parity(length=4)
    >>> task.name, task.unit, task.maximize, task.num_eval_batches("valid", 0)
    ('Parity', 'samples', True, 32)
    >>> task.eval_batch((), jax.random.key(0), "valid", jnp.int32(0), 0).inputs.shape
    (4, 32)

    One with data has it as the field `data`, and `train_batch`, `eval_batch` and `num_examples` in
    place of `draw`; `tasks.examples` says which examples make up a batch.

    Two tasks are equal if their settings are; one that holds arrays only equals itself, but its
    `outline` equals that of any task with the same settings and shapes.

    Attributes:
      name: for the screen; by default that of the class.
      tokens: inputs are integer tokens, not vectors.
      stream: the carry is kept from batch to batch, and the targets lag by the model's delay.
      per_location: there are outputs for every location of a map, [T, B, ..spatial.., V]; the
        input_size is then (..spatial.., I).
      last_only: only the output that has seen the entire sequence is scored.
      autoregressive: targets are later inputs: a model that is not causal would see them, and
        `scripts.generate` continues a prompt rather than answering it.
      own_targets: targets are the inputs of the same step, rows of maps: any model would see them
        but one with `row_mask` "A", whose outputs depend on what is before them alone.
      given: inputs that a rollout begins with; the rest of its inputs are the network's own
        predictions, and `scripts.visualize` draws them (`feed`, `film`). 0: there is none.
      unit, units_per_step: what is counted, and how many in a training step; by default samples and
        the batch size.
      metric, maximize: what chooses the best parameters; by default the loss, and whether it is an
        accuracy.
      target: value of the metric to which "units to target" count; by default None.
      data: a pytree of host arrays; by default ().
      eval_batch_size: by default the batch size.
      eval_samples: of an evaluation on fresh samples; by default 1000.
      fresh: evaluations draw their samples from the key; by default if there is no data.
      vocabulary: the bytes of tokens 0, 1, .., if tokens are bytes and one more, the last, is the
        unknown one: a run of an autoregressive task then generates without its data; by default
        None.
      token_names, class_names: how inputs and outputs are written; by default 0 to 9, then <10>,
        <11>, ..
      metric_labels: labels of metrics on learning curves, in place of their names.
      length_setting: the field in which the length of a sequence is. A run of such a task is also
        tested on sequences of 2, 4 and 8 times that length; by default None.
      about: a line on the data, for the screen; by default "".
    """

    input_size: InputShape
    output_size: int
    batch_size: int
    tokens: bool = False
    stream: bool = False
    per_location: bool = False
    last_only: bool = False
    autoregressive: bool = False
    own_targets: bool = False
    given: int = 0
    unit: str = "samples"
    metric: str = "loss"
    target: float | None = None

    def __init_subclass__(cls) -> None:
        for name in ("__eq__", "__hash__"):  # not a dataclass's own, which compare arrays
            if name not in vars(cls):
                setattr(cls, name, getattr(BaseTask, name))

    def __post_init__(self) -> None:
        for name in ("batch_size", "eval_batch_size", "eval_samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; accepted are integers >= 1")

    @derived
    def name(self) -> str:
        return type(self).__name__

    @derived
    def maximize(self) -> bool:
        return self.metric.endswith("accuracy")

    @derived
    def data(self) -> PyTree:
        return ()

    @derived
    def eval_batch_size(self) -> int:
        return self.batch_size

    @derived
    def eval_samples(self) -> int:
        return 1000

    @derived
    def units_per_step(self) -> int:
        return self.batch_size

    @derived
    def fresh(self) -> bool:
        return not jax.tree.leaves(self.data)

    def draw(self, key: Array, batch_size: int) -> Batch:
        """Fresh samples, for a task without data: pure and traceable."""
        what = "draw" if self.fresh else "train_batch and eval_batch"
        raise ValueError(f"task {self.name} has no {what}; accepted are tasks with {what}")

    def train_batch(self, data: PyTree, key: Array, step: Array, delay: int) -> Batch:
        """The batch of training step `step`: fresh samples for every step."""
        return self.draw(jax.random.fold_in(key, step), self.batch_size)

    def num_examples(self, split: str) -> int:
        """Examples of an evaluation on `split`; `eval_samples` if they are fresh."""
        if not self.fresh:
            raise ValueError(
                f"task {self.name} has data and no num_examples; accepted are tasks with both"
            )
        return self.eval_samples

    def num_eval_batches(self, split: str, delay: int) -> int:
        """The number of batches of `eval_batch_size` that hold all examples of `split`."""
        return -(-self.num_examples(split) // self.eval_batch_size)

    def eval_batch(self, data: PyTree, key: Array, split: str, index: Array, delay: int) -> Batch:
        """Fresh samples, different for "valid" and "test"; the last batch may be masked in part."""
        key = jax.random.fold_in(jax.random.fold_in(key, 0 if split == "valid" else 1), index)
        batch = self.draw(key, self.eval_batch_size)
        left = self.num_examples(split) - index * self.eval_batch_size
        wanted = jnp.arange(self.eval_batch_size, dtype=jnp.int32) < left  # [B]
        return batch._replace(mask=batch.mask & wanted[None])

    def metrics(self, logits: Array, batch: Batch) -> Sums:
        """Those of classification: `tasks.scoring.score`."""
        return score(logits, batch)

    @functools.cached_property
    def outline(self) -> Self:
        """This task with `jax.ShapeDtypeStruct`s for its arrays; without arrays, itself.

        Compiled programs live as long as the process, and so does the task they are compiled for:
        hence they are compiled for its outline, with which a batch can be traced.
        """
        if not self._holds_arrays:
            return self
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), self.data)
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        outline = object.__new__(type(self))  # without __post_init__, which may check the data
        vars(outline).update(fields, data=shapes)
        return outline

    @property
    def is_outline(self) -> bool:
        """Whether `data` has shapes in place of arrays."""
        return any(isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(self.data))

    @property
    def _holds_arrays(self) -> bool:
        has_data = any(field.name == "data" for field in dataclasses.fields(self))
        return has_data and not self.is_outline and bool(jax.tree.leaves(self.data))

    @functools.cached_property
    def _key(self) -> Any:
        if self._holds_arrays:
            return id(self)
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        leaves, structure = jax.tree.flatten(fields.pop("data", ()))
        return type(self), tuple(fields.values()), structure, tuple(leaves)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BaseTask) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    # What the programs show of a task, and what they read in its words.

    about: str = ""
    length_setting: str | None = None

    def longer(self, times: int) -> Self:
        """The task whose sequences are so many times as long, in batches that are smaller by it.

        Raises:
          ValueError: it has no `length_setting`, or there are no such sequences.
        """
        if self.length_setting is None:
            raise ValueError(f"task {self.name} has no length_setting; accepted are tasks with one")
        length = times * getattr(self, self.length_setting)
        batch = -(-self.eval_batch_size // times)
        return dataclasses.replace(self, **{self.length_setting: length}, eval_batch_size=batch)

    @derived
    def vocabulary(self) -> Sequence[int] | None:
        return None

    @derived
    def metric_labels(self) -> Mapping[str, str]:
        return CROSS_ENTROPY if type(self).metrics is BaseTask.metrics else {}

    @derived
    def token_names(self) -> Sequence[str]:
        return numerals(self.input_size) if isinstance(self.input_size, int) else ()

    @derived
    def class_names(self) -> Sequence[str]:
        same = self.tokens and self.input_size == self.output_size
        return self.token_names if same else numerals(self.output_size)

    def notes(self, split: str) -> Mapping[str, int | float | str]:
        """What to show beside the metrics of `split`, by name: what they leave out, say."""
        return {}

    def encode(self, prompt: str) -> np.ndarray:
        """The tokens of a prompt, int32 [T].

        Raises:
          ValueError: the task reads no tokens, or the prompt holds something else.
        """
        if not self.tokens:
            raise ValueError(
                f"task {self.name} reads no tokens; accepted with a prompt are tasks that do"
            )
        return encode(prompt, self.token_names)

    def text(self, tokens: Array) -> str:
        """One sequence of tokens [T] as text."""
        return "".join(self.token_names[int(i)] for i in tokens)

    def answer(self, inputs: np.ndarray, outputs: np.ndarray) -> str:
        """What a network answers to one sequence, as text: its last class if `last_only`, else all.

        Args:
          inputs: tokens int [T].
          outputs: the likeliest class after each of them, int [T].
        """
        names = [self.class_names[int(i)] for i in (outputs[-1:] if self.last_only else outputs)]
        return ("" if all(len(name) == 1 for name in names) else " ").join(names)

    def picture(self, inputs: np.ndarray) -> np.ndarray | None:
        """One sequence of inputs [T, ..] as an image [H, W]; None: it is not an image."""
        return None

    def sample_picture(self, sampled: np.ndarray) -> np.ndarray | None:
        """One sequence of targets, or of what was sampled in their place, as an image [H, W].

        None: it is not an image. Else `scripts.visualize` draws samples beside the data.
        """
        return None

    def film(self, inputs: np.ndarray) -> np.ndarray:
        """Inputs [T, ..] of a rollout as frames [T, H, W]."""
        raise NotImplementedError(f"task {self.name} has no film")

    @staticmethod
    def feed(outputs: Array) -> Array:
        """What a rollout reads in place of the next input: by default the outputs themselves."""
        return outputs


def check_task(task: Any) -> None:
    """Raises ValueError unless a task has all that the programs need, as `BaseTask` has."""
    asked = [*Task.__annotations__, *(name for name in vars(Task) if not name.startswith("_"))]
    name = getattr(task, "name", type(task).__name__)
    if missing := [name for name in asked if not hasattr(task, name)]:
        raise ValueError(
            f"task {name} has no {', '.join(missing)}; accepted are tasks with all that "
            "tlstm_jax.tasks.BaseTask has"
        )
    bytes_ = task.vocabulary
    if bytes_ is not None and not (
        len(bytes_) and list(bytes_) == sorted({b for b in bytes_ if b in range(256)})
    ):
        raise ValueError(
            f"vocabulary of task {name} is {bytes_!r}; accepted are None and ascending bytes, "
            "0 to 255"
        )

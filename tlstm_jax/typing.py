"""The protocols that hold the project together, and the legend of axis letters.

Axis letters, used in every shape comment:

    T  time steps            B  batch                 I  input size
    M  features (channels)   P  tensor locations      K  kernel size
    Z  gate channels         V  output size (classes, vocabulary)

Everything is time-major ([T, B, ..]), vectors are rows, and nothing keeps state: parameters, carry
and key go in, new ones come out. Inputs are vectors [T, B, I], tokens [T, B], or maps with any
number of spatial axes [T, B, ..spatial.., I].
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import jax
import numpy as np

Array = jax.Array
PyTree = Any
Params = Mapping[str, Any]  # nested dicts of arrays, with Flax's names: kernel, bias, scale
Carry = PyTree  # the recurrent state, a NamedTuple of arrays [B, ..]
State = PyTree  # what a model keeps beside parameters (running statistics); () where there is none
Aux = Mapping[str, Array]  # costs that a model adds to the loss; {} where there are none
Floats = Mapping[str, Any]  # scalars, traced ones too, in place of settings of these names
InputShape = int | tuple[int, ...]  # of one input: I, or (..spatial.., I) for maps
Sums = dict[str, tuple[Array, Array]]  # metric name -> (sum, count), both scalar


@runtime_checkable
class Cell(Protocol):
    """One step of one recurrent transition; a frozen dataclass of static settings.

    A cell may also give its step in three parts, of which `step` is then the composition:

    * `project(params, x) -> z`: what depends on x alone, for inputs with any leading axes;
    * `mix(params, carry, z) -> a`: where weight matrices multiply the state, linear in the weights
      and separate for every example;
    * `update(params, carry, a) -> (carry, y)`: the rest, without a state-weight product.

    The inputs of such a cell are projected for all steps at once, outside the loop over time.

    A cell whose parameters may have entries beside those that `init` makes names them in
    `optional_params`.

    A cell that has something to say of its parameters, what it saves by them for example, has
    `about(params)`, a line; params is a tree, of arrays or shapes, that has the cell's own within.

    A cell that draws noise in training has `draw(key, num_steps, batch_size)`, a pytree of
    [T, B, ..]: masks, say, drawn before the loop. Its `step`, `mix` and `update` then take the
    noise of their step as one more argument, None outside training.

    A cell over maps has `spatial_shape`, the sizes of the axes between B and the features, of its
    inputs and outputs alike. One over rows may say what of its own row an output depends
    on, in `row_mask`: "A", on what is before it alone, "B", on that and what is at its own place.
    """

    @property
    def features(self) -> int:
        """Width of the output y."""

    @property
    def delay(self) -> int:
        """Steps between reading x_t and emitting y_t; 0 for ordinary cells."""

    @property
    def causal(self) -> bool:
        """Whether y_t depends on no input after x_t."""

    def init(self, key: Array, input_shape: InputShape) -> Params:
        """Parameters, float32, for inputs of `input_shape`.

        It is I, features or tokens, or (..spatial.., I). ValueError for what the cell does not read.
        """

    def init_carry(self, batch_size: int, dtype: Any = ...) -> Carry:
        """The carry before the first step."""

    def step(self, params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        """x: float [B, .., I], or tokens [B] where -1 is the zero input. Returns y [B, .., M]."""

    def init_token_carry(self, batch_size: int, dtype: Any = ...) -> Carry:
        """The carry of `token_step` before the first token."""

    def token_step(self, params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        """One token, without delay: y answers this x. The same as `step` where delay is 0."""


@runtime_checkable
class SequenceModel(Protocol):
    """Anything that maps a sequence to a sequence; `as_sequence(cell)` lifts a Cell into one.

    A model that needs a key in training says so with `draws = True`.

    A model with features that run backwards in time, complete at an example's first step, has
    `finished_first`, a bool for each feature, True for these.

    One over maps has `spatial_shape`, and may have `row_mask`, as a Cell.
    """

    @property
    def features(self) -> int:
        """Width of the output y."""

    @property
    def delay(self) -> int:
        """Steps by which a stream's outputs lag its inputs."""

    @property
    def causal(self) -> bool:
        """Whether y_t depends on no input after x_t."""

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        """Parameters and the model's initial state, for inputs as of a Cell."""

    def init_carry(
        self, batch_size: int, dtype: Any = ..., *, params: Params | None = None
    ) -> Carry:
        """The carry before the first step; `params` for models that learn it."""

    def apply(
        self,
        params: Params,
        state: State,
        carry: Carry,
        xs: Array,
        *,
        flush: bool = True,
        lengths: Array | None = None,
        reset: Array | None = None,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[Carry, Array, State, Aux]:
        """xs [T, B, .., I] or tokens [T, B] to ys [T, B, .., M]; else as of `unroll`."""

    def init_token_carry(
        self, batch_size: int, dtype: Any = ..., *, params: Params | None = None
    ) -> Carry:
        """The carry of `token_step` before the first token."""

    def token_step(
        self, params: Params, state: State, carry: Carry, x: Array
    ) -> tuple[Carry, Array]:
        """One token, without delay."""


class Batch(NamedTuple):
    """What a task hands to the training loop for one step.

    The network reads `inputs`, and `lengths` and `reset` say how far and from where. Targets and
    mask are the task's own: only its `metrics` reads them, so they may be of any type and rank.
    Integer targets with two axes are taken for classes, one for each output; others also have B as
    axis 1, so that a batch can be sharded over devices: [T, B, D] floats for a regression, or
    [1, B, N] labels for CTC.
    """

    inputs: Array  # [T, B, .., I] float32, or tokens [T, B] int32 (-1: the zero input)
    targets: (
        Array  # [T, B] int32 classes; [1, B] where only the last output is scored; or any other
    )
    mask: Array  # like targets, bool: which outputs are scored; or as `metrics` reads it
    lengths: Array | None = None  # [B] int32, None: every sequence fills all T steps
    restart: Array | None = None  # [B] bool, streams only: examples whose carry is reset here


class Task(Protocol):
    """Batches, a loss mask, metrics and sizes. A frozen dataclass of settings.

    `tlstm_jax.tasks.BaseTask` has a default for all but the sizes and the batches.

    `data` is a pytree of host arrays (() for synthetic tasks) that the training loop puts on the
    device once and hands back to the pure functions below, which run inside the compiled step. A
    training batch is a function of `(data, key, step)` alone, so that a run can resume anywhere.

    The objective is the task's own: training minimizes the mean of its metric "loss", however it is
    computed. Classification with `tasks.scoring.score` (also for sequences of different `lengths`,
    with one class each if `last_only`), regression on float targets with
    `tasks.scoring.squared_error`, and CTC are a few lines each; `tests/own_tasks.py` has one of
    each.

    A task may also have an `outline`: itself without the arrays, hashable, and equal to that of any
    task with the same batches for the same `data`. Programs are then compiled for it, and keep no
    data.
    """

    name: str
    input_size: InputShape  # features of an input, or number of tokens; (..spatial.., I) of maps
    output_size: int  # number of classes, or of a readout's outputs
    tokens: bool  # inputs are integer tokens
    stream: bool  # the carry is kept from one batch to the next, and outputs come `delay` late
    per_location: bool  # of maps: outputs are [T, B, ..spatial.., V]
    last_only: bool  # only the output that has seen the entire sequence is scored (`last_output`)
    batch_size: int
    unit: str  # what a run counts: "samples" or "characters"
    units_per_step: int
    metric: str  # the entry of `metrics` by which the best checkpoint is chosen
    maximize: bool
    target: float | None  # "units to target": first of two evaluations in a row that reach it
    data: PyTree

    def train_batch(self, data: PyTree, key: Array, step: Array, delay: int) -> Batch:
        """The batch of training step `step` (int32 scalar, from 0); key: the run's data key."""

    def num_eval_batches(self, split: str, delay: int) -> int:
        """How many batches make up an evaluation on `split` ("valid" or "test")."""

    def eval_batch(self, data: PyTree, key: Array, split: str, index: Array, delay: int) -> Batch:
        """Batch `index` of `split`; a task on fresh samples draws them from `key`."""

    def metrics(self, logits: Array, batch: Batch) -> Sums:
        """(sum, count) of each metric, among them "loss" (in nats, if it is a likelihood).

        Args:
          logits: the readout's outputs, [T, B, V] float32; [1, B, V] if `last_only`, and
            [T, B, ..spatial.., V] if `per_location`. In a stream, logits[t] answer the input
            `delay` steps earlier.
        """

    # `fit`, `evaluate` and `sweep` need what is above; the programs also what is below.

    fresh: bool  # evaluations draw their samples from the key
    autoregressive: bool  # targets are later inputs
    vocabulary: Sequence[int] | None  # the bytes of the tokens, ascending
    token_names: Sequence[str]  # how the input tokens are written
    class_names: Sequence[str]  # names of the outputs
    metric_labels: Mapping[str, str]  # of metrics on learning curves, in place of their names
    about: str  # a line on its data, for the screen; "" for none
    length_setting: (
        str | None
    )  # in which the length of a sequence is, if it is tried on longer ones

    def longer(self, times: int) -> Self:
        """The task whose sequences are so many times as long, where it has a `length_setting`."""

    def notes(self, split: str) -> Mapping[str, int | float | str]:
        """What to show beside the metrics of `split`, by name: what they leave out, say."""

    def encode(self, prompt: str) -> np.ndarray:
        """The tokens of a prompt, int32 [T]; ValueError where it has none."""

    def text(self, tokens: Array) -> str:
        """One sequence of tokens [T] as text."""

    def answer(self, inputs: np.ndarray, outputs: np.ndarray) -> str:
        """The answer to tokens [T], as text; outputs [T]: the likeliest class after each."""

    def picture(self, inputs: np.ndarray) -> np.ndarray | None:
        """One sequence of inputs [T, I] as an image [H, W], where they are one."""


Observe = Callable[[Carry], PyTree]

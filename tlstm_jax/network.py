"""Inputs, a recurrent model, and a linear readout: what a task trains."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import (
    as_tuple,
    check_size,
    is_sizes,
    linear,
    scaled_normal,
    widened,
)
from tlstm_jax.cells.shapes import row_mask, sizes_of, spatial_shape
from tlstm_jax.checks import check_model, check_tree, recall
from tlstm_jax.models.sequence import as_sequence, last_output
from tlstm_jax.typing import (
    Array,
    Aux,
    Carry,
    Cell,
    InputShape,
    Params,
    PyTree,
    SequenceModel,
    State,
    Task,
)

MAP_READOUTS = ("flatten", "mean")


def check_map_readout(value: str) -> None:
    """Raises ValueError unless `value` is one of MAP_READOUTS."""
    if value not in MAP_READOUTS:
        raise ValueError(f"map_readout is {value!r}; accepted are {', '.join(MAP_READOUTS)}")


def task_sizes(task: Task) -> dict[str, Any]:
    """What a task says of its network: input_size, output_size, tokens, per_location."""
    return {
        "input_size": as_tuple(task.input_size),
        "output_size": task.output_size,
        "tokens": task.tokens,
        "per_location": getattr(task, "per_location", False),  # which not every user's own has
    }


@dataclasses.dataclass(frozen=True)
class Network:
    """logits_t = y_t W + b, with y from `model`.

    Parameters: {"model": .., "readout": {"kernel" [M', V'], "bias" [V']}}, M' = M and V' = V but
    for maps. A model of vectors reads the locations of a map side by side, as one vector.

    Attributes:
      model: a SequenceModel, or a Cell.
      input_size: I, features of an input vector or number of tokens; of maps (..spatial.., I).
      output_size: V, the number of classes.
      tokens: whether inputs are integer tokens. A model then learns faster with input_scale=1.
      per_location: whether there are logits for every location of a map: [T, B, ..spatial.., V].
        A model of vectors makes them all from its y: V' = V times the number of locations.
      map_readout: what one of all locations' logits are made from where `per_location` is False:
        "flatten", the features of all locations side by side, M' = M times their number; "mean",
        their mean over locations.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import GRU, Network
      >>> network = Network(GRU(8), input_size=10, output_size=10, tokens=True)
      >>> params, state = network.init(jax.random.key(0))
      >>> tokens = jnp.zeros((5, 2), jnp.int32)
      >>> carry, logits, *_ = network.apply(params, state, network.init_carry(2), tokens)
      >>> logits.shape
      (5, 2, 10)
    """

    model: SequenceModel | Cell
    input_size: InputShape
    output_size: int
    _: dataclasses.KW_ONLY
    tokens: bool = False
    per_location: bool = False
    map_readout: str = "flatten"

    def __post_init__(self) -> None:
        check_model("model", self.model)
        object.__setattr__(self, "input_size", as_tuple(self.input_size))
        if not is_sizes(self.input_size):
            check_size("input_size", self.input_size)
        check_size("output_size", self.output_size)
        check_map_readout(self.map_readout)
        if self.per_location and not self._spatial:
            raise ValueError(
                f"per_location is True and input_size {self.input_size}; accepted is that with maps"
            )

    @property
    def sequence(self) -> SequenceModel:
        return as_sequence(self.model)

    @property
    def input_sizes(self) -> tuple[int, ...]:
        """`input_size` as a tuple, (I,) of vectors and tokens."""
        return sizes_of(self.input_size)

    @property
    def _spatial(self) -> tuple[int, ...]:
        """The spatial sizes of the inputs."""
        return self.input_sizes[:-1]

    @property
    def _input_shape(self) -> InputShape:
        """Of the inputs that the model reads."""
        if not isinstance(self.input_size, tuple):
            return self.input_size
        return self.input_size if spatial_shape(self.model) else math.prod(self.input_size)

    @property
    def _readout_sizes(self) -> tuple[int, int]:
        """(M', V')."""
        M, V, spatial = self.model.features, self.output_size, spatial_shape(self.model)
        if self.per_location:
            return M, V if spatial else V * math.prod(self._spatial)
        return M * math.prod(spatial) if self.map_readout == "flatten" else M, V

    @property
    def delay(self) -> int:
        return self.model.delay

    @property
    def row_mask(self) -> str:
        """What of its own row a location's logits depend on (`cells.shapes.row_mask`)."""
        return row_mask(self.model)

    @property
    def causal(self) -> bool:
        return self.model.causal

    def check_causal(self) -> None:
        """Raises ValueError, with the name of the part that is not causal, if there is one."""
        if not self.causal:
            raise ValueError(
                f"{_not_causal(self.model)} is not causal; accepted token by token are causal "
                "models"
            )

    def check_params(self, params: Params) -> None:
        """Raises ValueError unless the parameters have this network's names, shapes and kinds."""
        own = recall(_own_params, self)
        check_tree("params", params, own, f"the network with {self.input_size} inputs")

    def init(self, key: Array) -> tuple[Params, State]:
        """Parameters (float32) and the model's initial state."""
        model_key, readout_key = jax.random.split(key)
        params, state = self.sequence.init(model_key, self._input_shape)
        sizes = self._readout_sizes
        readout = {
            "kernel": scaled_normal(readout_key, sizes, 1.0),
            "bias": jnp.zeros(sizes[1:], jnp.float32),
        }
        return {"model": params, "readout": readout}, state

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        model_params = None if params is None else params["model"]
        return self.sequence.init_carry(batch_size, dtype, params=model_params)

    def apply(
        self,
        params: Params,
        state: State,
        carry: Carry,
        inputs: Array,
        *,
        last_only: bool = False,
        flush: bool = True,
        lengths: Array | None = None,
        reset: Array | None = None,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[Carry, Array, State, Aux]:
        """Logits of a batch of sequences or segments; see `unroll` for flush, lengths and reset.

        Args:
          inputs: [T, B, .., I] float, or tokens [T, B].
          last_only: read out only one output of each example, the one that has seen it entirely
            (`last_output`).

        Returns:
          (carry, logits [T, B, V] or [1, B, V] float32, state, aux); with `per_location`, logits
          [T, B, ..spatial.., V].

        Raises:
          ValueError: params, carry, inputs, lengths or reset have shapes, kinds or names that do
            not fit.
        """
        lengths = None if lengths is None else widened(jnp.asarray(lengths))
        self.check_params(params)
        carry, ys, state, aux = self.sequence.apply(
            params["model"],
            state,
            carry,
            self._as_read(inputs, leading=2),
            flush=flush,
            lengths=lengths,
            reset=reset,
            key=key,
            train=train,
        )
        if last_only:
            ys = last_output(self.model, ys, lengths)[None]
        return carry, self.readout(params, ys), state, aux

    def readout(self, params: Params, ys: Array) -> Array:
        """y [.., M] to logits [.., V] in float32 or wider; of maps, see `map_readout`."""
        kernel, axes = params["readout"]["kernel"], len(spatial_shape(self.model))
        ys = ys.astype(kernel.dtype)
        if axes and not self.per_location:
            leading = ys.shape[: -axes - 1]
            if self.map_readout == "mean":
                ys = jnp.mean(ys, axis=tuple(range(len(leading), ys.ndim - 1)))
            ys = ys.reshape(*leading, -1)
        logits = linear(ys, params["readout"], None)
        if axes or not self.per_location:
            return logits
        return logits.reshape(*logits.shape[:-1], *self._spatial, self.output_size)

    def _as_read(self, inputs: Array, *, leading: int) -> Array:
        """Maps as vectors, where the model reads these; `leading` axes are T and B, or B."""
        if spatial_shape(self.model) or inputs.shape[leading:] != self.input_size:
            return inputs  # of other sizes: the model says so
        return inputs.reshape(*inputs.shape[:leading], -1)

    def init_token_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        model_params = None if params is None else params["model"]
        return self.sequence.init_token_carry(batch_size, dtype, params=model_params)

    def token_step(
        self, params: Params, state: State, carry: Carry, x: Array
    ) -> tuple[Carry, Array]:
        """One token, vector or map x to the logits [B, .., V] that answer it, without delay."""
        x = self._as_read(x, leading=1)
        carry, y = self.sequence.token_step(params["model"], state, carry, x)
        return carry, self.readout(params, y)


@functools.lru_cache(maxsize=64)
def _own_params(network: Network) -> PyTree:
    return jax.eval_shape(lambda: network.init(jax.random.key(0))[0])


def _not_causal(model: SequenceModel | Cell) -> str:
    """The name of the innermost part that is not causal."""
    parts = []
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        parts += value if isinstance(value, tuple) else [value]
    inner = [part for part in parts if getattr(part, "causal", True) is False]
    return _not_causal(inner[0]) if inner else type(model).__name__

"""Tokens or vectors, a recurrent model, and a linear readout: what a task trains."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import check_size, linear, scaled_normal, widened
from tlstm_jax.checks import check_model, check_tree, recall
from tlstm_jax.models.sequence import as_sequence, last_output
from tlstm_jax.typing import Array, Aux, Carry, Cell, Params, PyTree, SequenceModel, State


@dataclasses.dataclass(frozen=True)
class Network:
    """logits_t = y_t W + b, with y from `model`.

    Parameters: {"model": .., "readout": {"kernel" [M, V], "bias" [V]}}.

    Attributes:
      model: a SequenceModel, or a Cell.
      input_size: I, features of an input vector or number of tokens.
      output_size: V, the number of classes.
      tokens: whether inputs are integer tokens. A model then learns faster with input_scale=1.

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
    input_size: int
    output_size: int
    _: dataclasses.KW_ONLY
    tokens: bool = False

    def __post_init__(self) -> None:
        check_model("model", self.model)
        check_size("input_size", self.input_size)
        check_size("output_size", self.output_size)

    @property
    def sequence(self) -> SequenceModel:
        return as_sequence(self.model)

    @property
    def delay(self) -> int:
        return self.model.delay

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
        params, state = self.sequence.init(model_key, self.input_size)
        kernel = scaled_normal(readout_key, (self.model.features, self.output_size), 1.0)
        readout = {"kernel": kernel, "bias": jnp.zeros((self.output_size,), jnp.float32)}
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
          inputs: [T, B, I] float, or tokens [T, B].
          last_only: read out only one output of each example, the one that has seen it entirely
            (`last_output`).

        Returns:
          (carry, logits [T, B, V] or [1, B, V] float32, state, aux).

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
            inputs,
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
        """y [.., M] to logits [.., V] in float32 or wider."""
        kernel = params["readout"]["kernel"]
        return linear(ys.astype(kernel.dtype), params["readout"], None)

    def init_token_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        model_params = None if params is None else params["model"]
        return self.sequence.init_token_carry(batch_size, dtype, params=model_params)

    def token_step(
        self, params: Params, state: State, carry: Carry, x: Array
    ) -> tuple[Carry, Array]:
        """One token or vector x to the logits [B, V] that answer it, without delay."""
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

"""Stacked recurrent networks, with separate or with shared weights.

Graves, Mohamed and Hinton, "Speech Recognition with Deep Recurrent Neural Networks", ICASSP 2013.

    h^1_t = cell^1(x_t), h^l_t = cell^l(h^{l-1}_t), y_t = h^L_t            separate weights
    h^0_t = x_t W + b, h^l_t = cell(h^{l-1}_t), y_t = h^L_t                shared weights

Shared weights are the stacked LSTM that the tensorized LSTM is compared with: its sequential steps
grow as T L, where a tensorized LSTM of that depth has T + L - 1.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import check_size, input_kernel, linear, with_hyper
from tlstm_jax.engine import check_engine
from tlstm_jax.typing import Array, Aux, Carry, Cell, Hyper, Params, State
from tlstm_jax.unroll import check_remat, unroll, zero_beyond


@dataclasses.dataclass(frozen=True)
class Stacked:
    """`num_layers` of one cell on top of each other; a SequenceModel.

    Parameters: {"layer_0": .., "layer_1": .., ..}; with `shared`, {"input": {"kernel" [I, M], "bias"
    [M]}, "layer": ..}. The carry is a tuple of the layers' carries.

    Attributes:
      cell: the cell of every layer; without delay.
      num_layers: L >= 1.
      shared: whether the layers share their weights, behind a projection of x to M features.
      input_scale: with `shared`, as in the cells.
      remat_every, engine: see `unroll`.
    """

    cell: Cell
    num_layers: int
    shared: bool = False
    input_scale: float | None = None
    remat_every: int | None = None
    engine: str = "deferred"

    def __post_init__(self) -> None:
        check_remat(self.remat_every)
        check_engine(self.engine)
        check_size("num_layers", self.num_layers)
        if self.cell.delay:
            raise ValueError(
                f"{type(self.cell).__name__} has a delay of {self.cell.delay} steps; "
                "accepted in a stack are cells without delay"
            )

    @property
    def features(self) -> int:
        return self.cell.features

    @property
    def delay(self) -> int:
        return 0

    @property
    def causal(self) -> bool:
        return self.cell.causal

    def init(
        self, key: Array, input_size: int, *, hyper: Hyper | None = None
    ) -> tuple[Params, State]:
        M = self.features
        if self.shared:
            input_key, key = jax.random.split(key)
            own = {k: v for k, v in (hyper or {}).items() if k == "input_scale"}
            kernel = input_kernel(input_key, (input_size, M), with_hyper(self, own).input_scale)
            inner = _without_input_scale(hyper)
            layer = self.cell.init(key, M, hyper=inner)
            return {
                "input": {"kernel": kernel, "bias": jnp.zeros((M,), jnp.float32)},
                "layer": layer,
            }, ()
        params = {}
        for i, k in enumerate(jax.random.split(key, self.num_layers)):
            size, settings = (M, _without_input_scale(hyper)) if i else (input_size, hyper)
            params[f"layer_{i}"] = self.cell.init(k, size, hyper=settings)
        return params, ()

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        del params
        return (self.cell.init_carry(batch_size, dtype),) * self.num_layers

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
        hyper: Hyper | None = None,
    ) -> tuple[Carry, Array, State, Aux]:
        """[T, B, I] or tokens [T, B] to [T, B, M], layer by layer."""
        del key, train, hyper
        # The projection's gradient would see what lies beyond, too.
        xs, carries = self._project(params, zero_beyond(xs, lengths)), []
        for i, layer_carry in enumerate(carry):
            layer_carry, xs = unroll(
                self.cell,
                self._layer(params, i),
                layer_carry,
                xs,
                flush=flush,
                lengths=lengths,
                reset=reset,
                remat_every=self.remat_every,
                engine=self.engine,
            )
            carries.append(layer_carry)
        return tuple(carries), xs, state, {}

    def init_token_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        del params
        return (self.cell.init_token_carry(batch_size, dtype),) * self.num_layers

    def token_step(
        self, params: Params, state: State, carry: Carry, x: Array
    ) -> tuple[Carry, Array]:
        del state
        x, carries = self._project(params, x), []
        for i, layer_carry in enumerate(carry):
            layer_carry, x = self.cell.token_step(self._layer(params, i), layer_carry, x)
            carries.append(layer_carry)
        return tuple(carries), x

    def _layer(self, params: Params, i: int) -> Params:
        return params["layer"] if self.shared else params[f"layer_{i}"]

    def _project(self, params: Params, x: Array) -> Array:
        return linear(x, params["input"], getattr(self.cell, "dtype", None)) if self.shared else x


def _without_input_scale(hyper: Hyper | None) -> Hyper:
    """For the layers above the first: their inputs are hidden states, whatever x is."""
    return {k: v for k, v in (hyper or {}).items() if k != "input_scale"}

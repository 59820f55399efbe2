"""Stacked recurrent networks, with separate or with shared weights.

Graves, Mohamed and Hinton, "Speech Recognition with Deep Recurrent Neural Networks", ICASSP 2013.

    h^1_t = cell^1(x_t), h^l_t = cell^l(h^{l-1}_t), y_t = h^L_t            separate weights
    h^0_t = x_t W + b, h^l_t = cell(h^{l-1}_t), y_t = h^L_t                shared weights

With shared weights it is the stacked LSTM that the tensorized LSTM is compared with: it has T L
sequential steps, where a tensorized LSTM of that depth has T + L - 1.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import check_size, input_kernel, linear, widened
from tlstm_jax.cells.shapes import row_mask, sizes_of, spatial_shape
from tlstm_jax.checks import check_call, check_model
from tlstm_jax.models.chain import (
    Chain,
    apply_layers,
    check_order,
    init_layers,
    step_layers,
)
from tlstm_jax.models.sequence import as_sequence, finished_first
from tlstm_jax.overrides import INPUT_SCALE, override, plain
from tlstm_jax.recurrence.engine import check_engine
from tlstm_jax.recurrence.unrolling import check_remat, zero_beyond
from tlstm_jax.typing import Array, Aux, Carry, Cell, InputShape, Params, SequenceModel, State


@dataclasses.dataclass(frozen=True)
class Stacked:
    """`num_layers` layers of one cell or model; a SequenceModel. See also `Chain`.

    Parameters: {"layer_0": .., "layer_1": .., ..}; with `shared`, {"input": {"kernel" [I, M],
    "bias" [M]}, "layer": ..}. The carry is a tuple of the layers' carries, as in `Chain`.

    Attributes:
      cell: the cell or model of every layer.
      num_layers: L >= 1.
      shared: whether the layers share their weights, after a projection of x to M features.
      input_scale: as in the cells, for the weights of x: the projection with `shared`, otherwise
        the first layer; None: as `cell` has it, 1 / sqrt(I) in the projection.
      remat_every, engine: of a cell; see `unroll`. With cuDNN all layers are one call.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import LSTM, Stacked
      >>> model = Stacked(LSTM(4), num_layers=2)
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape, len(carry)
      ((5, 2, 4), 2)
    """

    cell: Cell | SequenceModel
    num_layers: int
    _: dataclasses.KW_ONLY
    shared: bool = False
    input_scale: float | None = None
    remat_every: int | None = None
    engine: str = "auto"

    def __post_init__(self) -> None:
        plain(self)
        check_model("cell", self.cell)
        check_remat(self.remat_every)
        check_engine(self.engine)
        check_size("num_layers", self.num_layers)
        check_order((self.cell,) * self.num_layers)
        self._layers  # noqa: B018 (whether there is an input_scale)

    @property
    def features(self) -> int:
        return self.cell.features

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        return spatial_shape(self.cell)

    @property
    def row_mask(self) -> str:
        return row_mask(self.cell)

    @property
    def delay(self) -> int:
        return self.num_layers * self.cell.delay

    @property
    def causal(self) -> bool:
        return self.cell.causal

    @property
    def finished_first(self) -> tuple[bool, ...]:
        return finished_first(self.cell)

    @property
    def _layers(self) -> tuple[SequenceModel, ...]:
        settings = {"remat_every": self.remat_every, "engine": self.engine}
        is_cell = not hasattr(self.cell, "apply")
        layer = as_sequence(self.cell, **settings) if is_cell else self.cell
        first = layer
        if self.input_scale is not None and not self.shared:
            first = override(layer, {INPUT_SCALE: self.input_scale})
        return (first, *[layer] * (self.num_layers - 1))

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        if not self.shared:
            return Chain(self._layers).init(key, input_shape)
        *spatial, I = sizes_of(input_shape)
        M = self.features
        input_key, key = jax.random.split(key)
        kernel = input_kernel(input_key, (I, M), self.input_scale)
        layer, state = self._layers[0].init(key, (*spatial, M) if spatial else M)
        if jax.tree.leaves(state):
            raise ValueError(
                f"{type(self.cell).__name__} has a state besides its parameters; accepted with "
                "shared weights are models without"
            )
        embedding = {"kernel": kernel, "bias": jnp.zeros((M,), jnp.float32)}
        return {"input": embedding, "layer": layer}, ()

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        return init_layers(self._layers, self._each(params), batch_size, dtype)

    def apply(
        self,
        params: Params,
        state: State,
        carry: Carry,
        xs: Array,
        *,
        lengths: Array | None = None,
        reset: Array | None = None,
        **options: Any,
    ) -> tuple[Carry, Array, State, Aux]:
        """[T, B, .., I] or tokens [T, B] to [T, B, .., M], layer by layer."""
        lengths, reset = check_call(self, params, carry, xs, lengths, reset, state=state)
        xs, lengths = widened(xs), widened(lengths)
        xs = self._project(params, zero_beyond(xs, lengths))
        options |= {"lengths": lengths, "reset": reset}
        return apply_layers(self._layers, self._each(params), state, carry, xs, **options)

    def init_token_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        pairs = zip(self._layers, self._each(params), strict=True)
        return tuple(layer.init_token_carry(batch_size, dtype, params=p) for layer, p in pairs)

    def token_step(
        self, params: Params, state: State, carry: Carry, x: Array
    ) -> tuple[Carry, Array]:
        x = self._project(params, x)
        return step_layers(self._layers, self._each(params), state, carry, x)

    def _each(self, params: Params | None) -> tuple[Params | None, ...]:
        names = ["layer" if self.shared else f"layer_{i}" for i in range(self.num_layers)]
        return tuple(params and params[name] for name in names)

    def _project(self, params: Params, x: Array) -> Array:
        return linear(x, params["input"], getattr(self.cell, "dtype", None)) if self.shared else x

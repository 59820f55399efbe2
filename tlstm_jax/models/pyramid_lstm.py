"""PyraMiD-LSTM: convolutional LSTMs that sweep through an image or volume from all of its sides.

Stollenga, Byeon, Liwicki and Schmidhuber, "Parallel Multi-Dimensional LSTM, With Application to
Fast Biomedical Volumetric Image Segmentation", NIPS 2015.

    h_t = sum over axes a and directions d of ConvLSTM_{a, d}(x)_t
    y_t = tanh(h_t W + b)

The steps of ConvLSTM_{a, d} go along axis a, time or space, and its maps have all other axes.

A location is reached by 2 D pyramids, which together cover all of the input; within a sweep,
locations of a step are computed at once, where a multidimensional LSTM has to follow diagonals.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from tlstm_jax.cells.conv_lstm import ConvLSTM
from tlstm_jax.cells.linear import as_tuple, check_size, linear, scaled_normal, widened
from tlstm_jax.cells.shapes import map_features
from tlstm_jax.checks import check_call
from tlstm_jax.devices.layout import on_any_mesh
from tlstm_jax.models.bidirectional import Bidirectional, BidirectionalCarry
from tlstm_jax.models.sequence import as_sequence, memory_dtype
from tlstm_jax.overrides import plain
from tlstm_jax.recurrence.engine import run
from tlstm_jax.recurrence.loop import Inputs, select
from tlstm_jax.recurrence.unrolling import sequence_mask, zero_beyond
from tlstm_jax.typing import Array, Aux, Carry, InputShape, Params, State


@dataclasses.dataclass(frozen=True)
class PyramidLSTM:
    """One layer of PyraMiD-LSTM, over [T, B, S_1..S_D', I], whose T is the first of D = 1 + D' axes.

    A SequenceModel that is not causal. With no spatial axes, it is an LSTM in either direction, their
    outputs summed, and the dense layer. Outputs of an example are those of the example alone,
    whatever its length: nothing beyond it is read. In a stream (flush=False) the sweep forwards
    along T goes on from segment to segment, and the others see one segment. The model cannot
    generate.

    Parameters: {"axis_0": {"forward": .., "backward": ..}, .., "dense": {"kernel" [N, M], "bias"
    [M]}}; axis_0 is T, axis_n is S_n, and both directions have a ConvLSTM's. They do not depend on
    sizes of axes. The carry is that of the two sweeps along T.

    Attributes:
      features: M, of the dense layer.
      spatial_shape: the sizes S_1..S_D' of the axes beside T; any number of them, also none.
      kernel_size: K, odd, along every axis of a sweep's map; 7 in the paper.
      hidden: N, of the sweeps; None is M.
      forget_bias: initial bias of the f gates; the others start at 0.
      input_scale: initial standard deviation of the sweeps' W; None is variance scaling,
        1 / sqrt(K^D' I).
      dtype: the dtype of the computation; None is the parameters' dtype.
      remat_every, engine: see `unroll`; of every sweep.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import PyramidLSTM
      >>> model = PyramidLSTM(4, spatial_shape=(8,))
      >>> params, state = model.init(jax.random.key(0), input_shape=(8, 1))
      >>> xs = jnp.ones((5, 2, 8, 1))
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), xs)
      >>> ys.shape, sorted(params)
      ((5, 2, 8, 4), ['axis_0', 'axis_1', 'dense'])
    """

    features: int
    _: dataclasses.KW_ONLY
    spatial_shape: tuple[int, ...] = ()
    kernel_size: int = 3
    hidden: int | None = None
    forget_bias: float = 1.0
    input_scale: float | None = None
    dtype: Any = None
    remat_every: int | None = None
    engine: str = "auto"

    delay: ClassVar[int] = 0
    causal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        plain(self)
        object.__setattr__(self, "spatial_shape", as_tuple(self.spatial_shape))
        check_size("features", self.features)
        if self.hidden is not None:
            check_size("hidden", self.hidden)
        self._over_time  # noqa: B018 (its own settings)

    @property
    def _cell(self) -> ConvLSTM:
        """That of the sweeps along T."""
        return ConvLSTM(
            self.hidden or self.features,
            spatial_shape=self.spatial_shape,
            kernel_size=self.kernel_size,
            forget_bias=self.forget_bias,
            input_scale=self.input_scale,
            dtype=self.dtype,
        )

    @property
    def _over_time(self) -> Bidirectional:
        sweep = as_sequence(self._cell, remat_every=self.remat_every, engine=self.engine)
        return Bidirectional(sweep, sweep)

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        map_features(self, input_shape)
        *sweeps, dense = jax.random.split(key, 2 + len(self.spatial_shape))
        params = {
            f"axis_{n}": self._over_time.init(k, input_shape)[0] for n, k in enumerate(sweeps)
        }
        kernel = scaled_normal(dense, (self._cell.features, self.features), 1.0)
        bias = jnp.zeros((self.features,), jnp.float32)
        return params | {"dense": {"kernel": kernel, "bias": bias}}, ()

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> BidirectionalCarry:
        del params
        return self._over_time.init_carry(batch_size, dtype)

    @on_any_mesh
    def apply(
        self,
        params: Params,
        state: State,
        carry: BidirectionalCarry,
        xs: Array,
        *,
        flush: bool = True,
        lengths: Array | None = None,
        reset: Array | None = None,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[BidirectionalCarry, Array, State, Aux]:
        """[T, B, S_1..S_D', I], or tokens [T, B], to [T, B, S_1..S_D', M].

        Raises:
          ValueError: `reset` is given for maps.
        """
        del key, train
        lengths, reset = check_call(self, params, carry, xs, lengths, reset, state=state)
        if reset is not None and self.spatial_shape:
            raise ValueError(
                "reset is given; accepted by PyramidLSTM over maps, whose sweeps read several steps "
                "of T at once, is None"
            )
        xs, lengths = widened(xs), widened(lengths)
        xs = zero_beyond(xs, lengths)
        mask = None if lengths is None else sequence_mask(xs, lengths)
        carry, both, _, _ = self._over_time.apply(
            params["axis_0"], (), carry, xs, flush=flush, lengths=lengths, reset=reset
        )
        total = sum(jnp.split(both, 2, axis=-1))
        for n in range(1, 1 + len(self.spatial_shape)):
            total += self._along(n, params[f"axis_{n}"], xs, mask, memory_dtype(carry))
        ys = jnp.tanh(linear(total, params["dense"], self.dtype))
        return carry, select(mask, ys, jnp.zeros_like(ys)), state, {}

    def _along(self, n: int, params: Params, xs: Array, mask: Array | None, memory: Any) -> Array:
        """The sum of both sweeps along S_n; what the mask [T, B] leaves out stays zero in them."""
        T, B = xs.shape[:2]
        others = (T, *self.spatial_shape[: n - 1], *self.spatial_shape[n:])
        cell = dataclasses.replace(self._cell, spatial_shape=others)
        steps = jnp.moveaxis(xs, (n + 1, 1), (0, 1))  # [S_n, B, T, .., I]
        if mask is not None:
            mask = jnp.broadcast_to(mask.T[None], (len(steps), B, T))
        engine = "deferred" if self.engine == "auto" else self.engine
        total = 0.0
        for direction, order in (("forward", 1), ("backward", -1)):
            _, ys, _ = run(
                cell,
                params[direction],
                cell.init_carry(B, memory),
                Inputs(steps[::order], mask=mask),
                remat_every=self.remat_every,
                engine=engine,
            )
            total += ys[::order]
        return jnp.moveaxis(total, (0, 1), (n + 1, 1))

    def init_token_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        """Raises ValueError: see `token_step`."""
        raise ValueError("PyramidLSTM is not causal; accepted token by token are causal models")

    def token_step(
        self, params: Params, state: State, carry: Carry, x: Array
    ) -> tuple[Carry, Array]:
        """Raises ValueError: what comes later is not known yet."""
        raise ValueError("PyramidLSTM is not causal; accepted token by token are causal models")

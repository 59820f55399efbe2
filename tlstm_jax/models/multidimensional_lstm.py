"""The multidimensional LSTM over images.

Graves, Fernandez and Schmidhuber, "Multi-Dimensional Recurrent Neural Networks", ICANN 2007. In row
t and column j, with one forget gate for each axis:

    i, f, f', o = sigm(x_tj W + h_{t-1,j} U + h_{t,j-1} U' + b) each        g = tanh(the same)
    c_tj = i * g + f * c_{t-1,j} + f' * c_{t,j-1}
    h_tj = o * tanh(c_tj)                                                   y_tj = h_tj

f + f' may exceed 1, and the memory then grows exponentially along an image. In the cells of Leifert,
Strauß, Grüning, Wustlich and Labahn, "Cells in Multidimensional Recurrent Neural Networks", JMLR 17,
2016, a gate l mixes the two neighbours first:

    s_tj = l * c_{t-1,j} + (1 - l) * c_{t,j-1}
    stable    c_tj = i * g + f * s_tj              h_tj = o * tanh(c_tj)
    leaky     c_tj = (1 - f) * g + f * s_tj        h_tj = tanh(o * c_tj + o' * s_tj)

The leaky one is their LeakyLP; |c| stays below 1 there, and below t + j in the stable one.

All directions and all columns of a diagonal, t + j = d, are computed at once: T + W - 1 steps.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import as_tuple, check_size, widened
from tlstm_jax.cells.lstm import LSTMCarry
from tlstm_jax.cells.multidimensional import FORMS, DiagonalLSTM
from tlstm_jax.cells.shapes import check_spatial_shape, map_features
from tlstm_jax.checks import check_call
from tlstm_jax.devices.layout import on_any_mesh
from tlstm_jax.models.bidirectional import ends, reverse
from tlstm_jax.overrides import plain
from tlstm_jax.recurrence.engine import run
from tlstm_jax.recurrence.loop import Inputs
from tlstm_jax.recurrence.unrolling import check_remat, sequence_mask, zero_beyond
from tlstm_jax.typing import Array, Aux, InputShape, Params, State

DIRECTIONS = ("down_right", "down_left", "up_right", "up_left")
MERGES = ("sum", "concatenate")
ENGINES = ("auto", "deferred", "scan")


@dataclasses.dataclass(frozen=True)
class MultidimensionalLSTM:
    """One layer of multidimensional LSTM; a SequenceModel over images, read row by row.

    Inputs are images [T, B, W, I] of T rows and W columns, or vectors [T, B, I] or tokens, which are
    images of one column. Every direction starts in a corner of its own, with weights of its own; of
    each example, rows up to its length are the image. Those that go up are not causal: in a stream
    (flush=False) they start with every segment. A reset is the first row of an image.

    Parameters: {"down_right", "down_left", "up_right", "up_left": {"input": {"kernel" [I, 5N]},
    "recurrent": {"kernel" [2N, 5N], "bias" [5N]}}}, the first 1, 2 or 4 of these; N = M, or M
    divided by the number of directions where they are concatenated. U has the rows of h_{t-1,j},
    then of h_{t,j-1}, each orthogonal for each gate, divided by sqrt(2). Gates in the order i, f,
    f', g, o; l in the place of f', o' in that of i.

    Other than in the papers, gates do not see the memory (no peepholes), and the initial weights are
    those of the other cells here. The stable cell is as in RETURNN (Voigtlaender et al., ICFHR 2016),
    the leaky one as in Maillette de Buy Wenniger et al., "No Padding Please", ICDAR 2019.

    Attributes:
      features: M, of the output.
      spatial_shape: (W,), the number of columns; (): vectors or tokens.
      cell: "lstm", "stable" or "leaky".
      directions: 4, all; 2, from above; 1, from above and the left. 2 and 1 are causal.
      merge: how directions become one output: "sum", or "concatenate", side by side.
      forget_bias: initial bias of f, and of f'; the others start at 0. Where both are 1, f + f' is
        1.46.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.
      remat_every: save the carry only every so many diagonals, recompute the rest; None: save all.
      engine: what runs over the diagonals: "auto" or "deferred", with a fast gradient, or "scan";
        see `unroll`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import MultidimensionalLSTM
      >>> model = MultidimensionalLSTM(4, spatial_shape=(6,))
      >>> params, state = model.init(jax.random.key(0), input_shape=(6, 1))
      >>> images = jnp.ones((8, 2, 6, 1))
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), images)
      >>> ys.shape, carry.memory.shape
      ((8, 2, 6, 4), (2, 4, 6, 4))
    """

    features: int
    _: dataclasses.KW_ONLY
    spatial_shape: tuple[int, ...] = ()
    cell: str = "lstm"
    directions: int = 4
    merge: str = "sum"
    forget_bias: float = 0.0
    input_scale: float | None = None
    dtype: Any = None
    remat_every: int | None = None
    engine: str = "auto"

    delay: ClassVar[int] = 0

    def __post_init__(self) -> None:
        plain(self)
        object.__setattr__(self, "spatial_shape", as_tuple(self.spatial_shape))
        check_size("features", self.features)
        check_spatial_shape(self.spatial_shape)
        if len(self.spatial_shape) > 1:
            raise ValueError(
                f"spatial_shape is {self.spatial_shape}; accepted by MultidimensionalLSTM, which "
                "reads images row by row, are () and (columns,)"
            )
        for name, accepted in (
            ("cell", FORMS),
            ("directions", (1, 2, 4)),
            ("merge", MERGES),
            ("engine", ENGINES),
        ):
            if (value := getattr(self, name)) not in accepted:
                listed = ", ".join(map(str, accepted))
                raise ValueError(f"{name} is {value!r}; accepted are {listed}")
        if self.merge == "concatenate" and self.features % self.directions:
            raise ValueError(
                f"features is {self.features}; accepted of {self.directions} directions side by "
                "side are multiples of their number"
            )
        check_remat(self.remat_every)

    @property
    def causal(self) -> bool:
        return self.directions < 4

    @property
    def finished_first(self) -> tuple[bool, ...]:
        """Those of the directions that go up; a sum is never complete in one row."""
        upward = self.merge == "concatenate" and not self.causal
        return tuple(upward and 2 * n >= self.features for n in range(self.features))

    @property
    def _width(self) -> int:
        """N."""
        return self.features // (self.directions if self.merge == "concatenate" else 1)

    @property
    def _names(self) -> tuple[str, ...]:
        return DIRECTIONS[: self.directions]

    def _diagonal(self, *, restarts: bool = False) -> DiagonalLSTM:
        columns = self.spatial_shape[0] if self.spatial_shape else None
        return DiagonalLSTM(
            self._width, form=self.cell, columns=columns, restarts=restarts, dtype=self.dtype
        )

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        I, cell = map_features(self, input_shape), self._diagonal()
        scales = {"forget_bias": self.forget_bias, "input_scale": self.input_scale}
        keys = jax.random.split(key, self.directions)
        return {
            name: cell.init(key, I, **scales) for name, key in zip(self._names, keys, strict=True)
        }, ()

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> LSTMCarry:
        """h and c of every column's last row, [B, directions, W, N], or [B, directions, N]."""
        del params
        one = self._diagonal().init_carry(batch_size, dtype)
        return jax.tree.map(lambda leaf: jnp.stack([leaf] * self.directions, axis=1), one)

    @on_any_mesh
    def apply(
        self,
        params: Params,
        state: State,
        carry: LSTMCarry,
        xs: Array,
        *,
        flush: bool = True,
        lengths: Array | None = None,
        reset: Array | None = None,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[LSTMCarry, Array, State, Aux]:
        """[T, B, W, I], [T, B, I] or tokens [T, B] to [T, B, .., M]."""
        del key, train
        lengths, reset = check_call(self, params, carry, xs, lengths, reset, state=state)
        xs, lengths = widened(xs), widened(lengths)
        xs = zero_beyond(xs, lengths)
        if not (flush or self.causal):
            down = jnp.arange(self.directions) < 2
            carry = jax.tree.map(lambda leaf: jnp.where(_along(down, leaf), leaf, 0), carry)
        restarts = reset is not None and bool(self.spatial_shape)
        if reset is not None:
            up = reverse(ends(reset), lengths)
            reset = jnp.stack([up if name.startswith("up") else reset for name in self._names])
        images = jnp.stack([self._turned(xs, name, lengths) for name in self._names])
        if restarts:  # a column's right neighbour still reads what the column forgets
            keep = (~reset)[..., None, None].astype(images.dtype)
            keep = jnp.broadcast_to(keep, (*images.shape[:-1], 1))
            images, reset = jnp.concatenate([images, keep], axis=-1), None
        carry, ys = self._run(
            self._diagonal(restarts=restarts), params, carry, images, lengths, reset
        )
        return carry, self._merged(ys, lengths), state, {}

    def _merged(self, ys: Array, lengths: Array | None) -> Array:
        """The output [T, B, .., M], from that of every direction [directions, T, B, .., N]."""
        each = [self._turned(y, name, lengths) for y, name in zip(ys, self._names, strict=True)]
        return sum(each[1:], each[0]) if self.merge == "sum" else jnp.concatenate(each, axis=-1)

    def _turned(self, xs: Array, name: str, lengths: Array | None) -> Array:
        """Images [T, B, W, ..] turned so that a direction goes down and right; and back."""
        xs = reverse(xs, lengths) if name.startswith("up") else xs
        return xs[:, :, ::-1] if self.spatial_shape and name.endswith("left") else xs

    def _run(
        self,
        cell: DiagonalLSTM,
        params: Params,
        carry: LSTMCarry,
        images: Array,
        lengths: Array | None,
        reset: Array | None,
    ) -> tuple[LSTMCarry, Array]:
        """(the last carry, ys [directions, T, B, .., N]) of images [directions, T, B, .., I]."""
        T, engine = images.shape[1], "deferred" if self.engine == "auto" else self.engine
        mask = None
        if self.spatial_shape or lengths is not None:
            rows = jnp.full(images.shape[2:3], T, jnp.int32) if lengths is None else lengths
            mask = sequence_mask(images[0], rows)
        if self.spatial_shape:
            mask = skew(jnp.broadcast_to(mask[..., None], images.shape[1:4]))

        def direction(
            params: Params, carry: LSTMCarry, xs: Array, reset: Array | None
        ) -> tuple[LSTMCarry, Array]:
            xs = skew(xs) if self.spatial_shape else xs
            inputs = Inputs(xs, reset, mask)
            carry, ys, _ = run(
                cell, params, carry, inputs, remat_every=self.remat_every, engine=engine
            )
            return carry, unskew(ys) if self.spatial_shape else ys

        together = jax.tree.map(
            lambda *leaves: jnp.stack(leaves), *(params[n] for n in self._names)
        )
        every = jax.vmap(direction, in_axes=(0, 1, 0, 0), out_axes=(1, 0))
        return every(together, carry, images, reset)

    def init_token_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> LSTMCarry:
        """Raises ValueError where directions go up: see `token_step`."""
        self._check_causal()
        return self.init_carry(batch_size, dtype, params=params)

    def token_step(
        self, params: Params, state: State, carry: LSTMCarry, x: Array
    ) -> tuple[LSTMCarry, Array]:
        """One row. Raises ValueError where directions go up: what comes later is not known yet."""
        self._check_causal()
        images = jnp.stack([self._turned(x[None], name, None) for name in self._names])
        carry, ys = self._run(self._diagonal(), params, carry, images, None, None)
        return carry, self._merged(ys, None)[0]

    def _check_causal(self) -> None:
        if not self.causal:
            raise ValueError(
                "MultidimensionalLSTM is not causal; accepted token by token are causal models"
            )


def _along(which: Array, leaf: Array) -> Array:
    """which [directions] in the shape of leaf [B, directions, ..]."""
    return jnp.broadcast_to(which.reshape(-1, *(1,) * (leaf.ndim - 2)), leaf.shape)


def skew(xs: Array) -> Array:
    """Images [T, B, W, ..] by diagonals [T + W - 1, B, W, ..]: row t of column j is at t + j."""
    (T, B, W), rest = xs.shape[:3], xs.shape[3:]
    columns = jnp.moveaxis(xs, 2, 0)
    # In rows longer by one than those in which they are read, every column is one step later.
    padded = jnp.pad(columns, [(0, 0), (0, W)] + [(0, 0)] * (xs.ndim - 2))
    flat = padded.reshape(W * (T + W), B, *rest)[: W * (T + W - 1)]
    return jnp.moveaxis(flat.reshape(W, T + W - 1, B, *rest), 0, 2)


def unskew(ys: Array) -> Array:
    """Diagonals [T + W - 1, B, W, ..] as images [T, B, W, ..]."""
    (D, B, W), rest = ys.shape[:3], ys.shape[3:]
    flat = jnp.moveaxis(ys, 2, 0).reshape(W * D, B, *rest)
    padded = jnp.pad(flat, [(0, W)] + [(0, 0)] * (ys.ndim - 2))
    return jnp.moveaxis(padded.reshape(W, D + 1, B, *rest)[:, : D + 1 - W], 0, 2)

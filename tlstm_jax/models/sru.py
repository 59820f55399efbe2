"""The simple recurrent unit, in parallel over time. Equations and citation: `tlstm_jax.cells.sru`.

The version of 2017 is linear in its state, and runs as an associative scan. That of 2018 has
c_{t-1} in its gates: the products are computed for all steps at once, and an elementwise loop
remains.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.sru import SRUCarry, SRUCell
from tlstm_jax.models.base import AllStepsModel
from tlstm_jax.overrides import STATIC, plain
from tlstm_jax.recurrence.engine import check_engine
from tlstm_jax.recurrence.linear_scan import linear_recurrence
from tlstm_jax.recurrence.unrolling import check_remat, unroll
from tlstm_jax.typing import Array, InputShape, Params, State


@dataclasses.dataclass(frozen=True)
class SRU(AllStepsModel):
    """One layer of SRU; a SequenceModel with the parameters, carry and numbers of `SRUCell`.

    Attributes:
      features: M.
      version: 2017 or 2018.
      scale: alpha, in the version of 2018; None is the paper's sqrt(1 + 2 exp(highway_bias)).
      highway_bias: initial b_r; if it is negative, more of x passes.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.
      remat_every, engine: of the loop of 2018; see `unroll`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import SRU
      >>> model = SRU(4, version=2017)
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 4)
    """

    features: int
    _: dataclasses.KW_ONLY
    version: int = 2018
    scale: float | None = dataclasses.field(default=None, metadata=STATIC)
    highway_bias: float = dataclasses.field(default=0.0, metadata=STATIC)  # alpha follows from it
    input_scale: float | None = None
    dtype: Any = None
    remat_every: int | None = None
    engine: str = "auto"

    def __post_init__(self) -> None:
        plain(self)
        check_remat(self.remat_every)
        check_engine(self.engine)
        self.cell  # noqa: B018 (its own settings)

    @property
    def cell(self) -> SRUCell:
        return SRUCell(
            self.features,
            version=self.version,
            scale=self.scale,
            highway_bias=self.highway_bias,
            input_scale=self.input_scale,
            dtype=self.dtype,
        )

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        return self.cell.init(key, input_shape), ()

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> SRUCarry:
        del params
        return self.cell.init_carry(batch_size, dtype)

    def run(
        self, params: Params, carry: SRUCarry, xs: Array, lengths: Array | None, reset: Array | None
    ) -> tuple[SRUCarry, Array]:
        if self.version == 2018:
            options = {"remat_every": self.remat_every, "engine": self.engine}
            return unroll(self.cell, params, carry, xs, lengths=lengths, reset=reset, **options)
        zs = self.cell.project(params, xs)
        u, f, r, x = jnp.split(zs.astype(carry.memory.dtype), 4, axis=-1)
        f = jax.nn.sigmoid(f)
        c, cs = linear_recurrence(f, (1 - f) * u, carry.memory, lengths, reset)
        return SRUCarry(c), self.cell.output(r, cs, x).astype(zs.dtype)

    def token_step(
        self, params: Params, state: State, carry: SRUCarry, x: Array
    ) -> tuple[SRUCarry, Array]:
        del state
        return self.cell.step(params, carry, x)

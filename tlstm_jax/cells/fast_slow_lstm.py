"""The fast-slow LSTM.

Mujika, Meier and Steger, "Fast-Slow Recurrent Neural Networks", NIPS 2017.

    h^1 = F1(h^k_{t-1}, x_t)
    s_t = S(s_{t-1}, h^1)
    h^2 = F2(h^1, s_t)
    h^i = Fi(h^{i-1})  for i = 3 .. k, without input        y_t = h^k_t

F1 .. Fk are layer-normalized LSTMs with their own weights that pass one (h, c) through the step; S
has its own. Each has zoneout (Krueger et al., ICLR 2017).

The paper cites Ba et al. for the normalization, of x W and of h U; the authors' code
(amujika/Fast-Slow-LSTM) normalizes each gate's sum with its bias, with an epsilon of 1e-3:
`normalization="gates"`. That code also initializes every W as an orthogonal matrix, and has dropout
between the cells.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import DelayFree
from tlstm_jax.cells.layer_norm_lstm import GateNormLSTM, LayerNormLSTM
from tlstm_jax.cells.linear import check_rate, check_size, is_integer
from tlstm_jax.cells.lstm import LSTMCarry
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.cells.zoneout import zone
from tlstm_jax.overrides import STATIC, plain
from tlstm_jax.typing import Array, InputShape, Params

NORMALIZATIONS = {"products": LayerNormLSTM, "gates": GateNormLSTM}


class FastSlowCarry(NamedTuple):
    fast: LSTMCarry  # h, c [B, M]
    slow: LSTMCarry  # [B, S]


class FastSlowNoise(NamedTuple):
    """Which units keep their values."""

    fast: LSTMCarry  # [T, B, k, M]
    slow: LSTMCarry  # [T, B, S]


@dataclasses.dataclass(frozen=True)
class FastSlowLSTM(DelayFree):
    """The FS-LSTM-k.

    Parameters: those of a `LayerNormLSTM` or `GateNormLSTM` under "fast_0", "slow", "fast_1" and so
    on; those from "fast_2" on have no "input" and "input_norm". Its products with the state follow
    one another, so it has no project / mix / update.

    Attributes:
      features: M, of the fast cells.
      slow_features: S, of the slow cell; None: M.
      num_fast: k >= 2, the number of fast cells.
      zoneout_hidden, zoneout_memory: rates in [0, 1); the paper's are 0.05 and 0.3 on text.
      forget_bias: initial bias of the f gates, as in these cells.
      input_scale: initial standard deviation of F1's W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.
      normalization: "products", of x W and of h U (`LayerNormLSTM`), or "gates", of each gate's sum
        (`GateNormLSTM`), as in the authors' code.
      bias_scale: initial standard deviation of the biases, as in these cells.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import FastSlowLSTM
      >>> cell = FastSlowLSTM(4, slow_features=5)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 3)))
      >>> y.shape, sorted(params)
      ((2, 4), ['fast_0', 'fast_1', 'slow'])
    """

    features: int
    _: dataclasses.KW_ONLY
    slow_features: int | None = None
    num_fast: int = 2
    zoneout_hidden: float = dataclasses.field(default=0.0, metadata=STATIC)
    zoneout_memory: float = dataclasses.field(default=0.0, metadata=STATIC)
    forget_bias: float = 1.0
    input_scale: float | None = None
    dtype: Any = None
    normalization: str = "products"
    bias_scale: float = 0.1

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)
        check_size("slow_features", self._slow_features)
        check_rate("zoneout_hidden", self.zoneout_hidden)
        check_rate("zoneout_memory", self.zoneout_memory)
        if not is_integer(self.num_fast, 2):
            raise ValueError(f"num_fast is {self.num_fast}; accepted are integers >= 2")
        if self.normalization not in NORMALIZATIONS:
            raise ValueError(
                f"normalization is {self.normalization!r}; accepted are {', '.join(NORMALIZATIONS)}"
            )

    @property
    def _slow_features(self) -> int:
        return self.features if self.slow_features is None else self.slow_features

    @property
    def _cells(self) -> tuple[LayerNormLSTM | GateNormLSTM, LayerNormLSTM | GateNormLSTM]:
        """A fast cell and the slow one."""
        cell = NORMALIZATIONS[self.normalization]
        return tuple(cell(n, dtype=self.dtype) for n in (self.features, self._slow_features))

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        cell = NORMALIZATIONS[self.normalization]
        biases = {"forget_bias": self.forget_bias, "bias_scale": self.bias_scale}
        first = cell(self.features, input_scale=self.input_scale, **biases)
        fast, slow = (cell(n, **biases) for n in (self.features, self._slow_features))
        slow_key, *keys = jax.random.split(key, self.num_fast + 1)
        params = {
            "fast_0": first.init(keys[0], I),
            "slow": slow.init(slow_key, self.features),
            "fast_1": fast.init(keys[1], self._slow_features),
        }
        for n in range(2, self.num_fast):
            full = fast.init(keys[n], 1)
            params[f"fast_{n}"] = {k: v for k, v in full.items() if not k.startswith("input")}
        return params

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> FastSlowCarry:
        return FastSlowCarry(*(cell.init_carry(batch_size, dtype) for cell in self._cells))

    def draw(self, key: Array, num_steps: int, batch_size: int) -> FastSlowNoise | None:
        """Zoneout's masks; None without zoneout."""
        rates = (self.zoneout_hidden, self.zoneout_memory)
        if not any(rates):
            return None
        keys = jax.random.split(key, 4)
        shapes = [(self.num_fast, self.features), (self._slow_features,)]
        masks = [
            jax.random.bernoulli(key, rate, (num_steps, batch_size, *shape))
            for key, (shape, rate) in zip(
                keys, [(shape, rate) for shape in shapes for rate in rates], strict=True
            )
        ]
        return FastSlowNoise(LSTMCarry(*masks[:2]), LSTMCarry(*masks[2:]))

    def step(
        self,
        params: Params,
        carry: FastSlowCarry,
        x: Array,
        noise: FastSlowNoise | None = None,
    ) -> tuple[FastSlowCarry, Array]:
        """x [B, I] or tokens [B]; returns the carry and h^k_t [B, M]."""
        fast, slow = self._cells

        def masks(n: int) -> LSTMCarry | None:
            return noise and LSTMCarry(*(kept[:, n] for kept in noise.fast))

        state = carry.fast
        state = self._zone(state, fast.step(params["fast_0"], state, x)[0], masks(0))
        s = slow.step(params["slow"], carry.slow, state.hidden)[0]
        s = self._zone(carry.slow, s, noise and noise.slow)
        new = fast.step(params["fast_1"], state, s.hidden)[0]
        state = self._zone(state, new, masks(1))
        for n in range(2, self.num_fast):
            of_cell = params[f"fast_{n}"]
            nothing = jnp.zeros((state.hidden.shape[0], 4 * self.features), state.hidden.dtype)
            new = fast.update(of_cell, state, fast.mix(of_cell, state, nothing))[0]
            state = self._zone(state, new, masks(n))
        return FastSlowCarry(state, s), state.hidden

    def _zone(self, old: LSTMCarry, new: LSTMCarry, kept: LSTMCarry | None) -> LSTMCarry:
        kept = kept or LSTMCarry(None, None)
        return LSTMCarry(
            zone(old.hidden, new.hidden, self.zoneout_hidden, kept.hidden),
            zone(old.memory, new.memory, self.zoneout_memory, kept.memory),
        )

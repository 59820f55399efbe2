"""The tensorized LSTM with other starts and readouts than those of the library, to compare them.

python -m scripts.train --model=tlstm_jax.scripts.experiments.started:StartedTensorizedLSTM ..
"""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from tlstm_jax.cells.linear import recurrent_kernel
from tlstm_jax.cells.lstm import LSTM
from tlstm_jax.cells.tensorized import convolution
from tlstm_jax.cells.tensorized.lstm import TensorizedLSTM, TensorizedLSTMCarry
from tlstm_jax.typing import Array, InputShape, Params

KERNELS = ("normal", "orthogonal", "identity", "inside")
READOUTS = ("corner", "wave")


@dataclasses.dataclass(frozen=True)
class StartedTensorizedLSTM(TensorizedLSTM):
    """A tensorized LSTM whose parameters start otherwise.

    Attributes:
      chrono: T; if it is not 0, b^h of the f channels starts at log U(1, T - 1), and of the i
        channels at its negative (Tallec and Ollivier, "Can Recurrent Neural Networks Warp Time?",
        ICLR 2018, equation 16).
      own_tap_bias: initial bias of the memory kernel's tap on the own location, before the softmax.
      norm_scale: initial scale of the normalization.
      kernel: of W^h. "normal": as in the library. "orthogonal": of every tap and gate, so scaled
        that a location's sum has the same variance. "identity": candidates of the own location
        start as its hidden state, all else as in the library. "inside": as in the library, but the
        fan-in is the mean number of taps that are inside the tensor.
      readout: "corner", or "wave": the mean of all locations of the last wave.
    """

    tensor_shape: tuple[int, ...] = (3,)  # a setting of a model by name needs a default
    forget_spread: float = 0.0
    chrono: float = 0.0
    own_tap_bias: float = 0.0
    norm_scale: float = 1.0
    kernel: str = "normal"
    readout: str = "corner"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, accepted in (("kernel", KERNELS), ("readout", READOUTS)):
            if (value := getattr(self, name)) not in accepted:
                raise ValueError(f"{name} is {value!r}; accepted are {', '.join(accepted)}")

    def init(self, key: Array, input_shape: InputShape) -> Params:
        params = super().init(key, input_shape)
        K, D, M = self.kernel_size, len(self.tensor_shape), self.features
        own = sum(K // 2 * K**d for d in range(D))  # of the taps in row-major order
        cross_layer = dict(params["cross_layer"])
        if self.chrono:
            bias_key, key = jax.random.split(key)
            slow = _chrono(bias_key, M, self.chrono)
            bias = cross_layer["bias"].at[M : 2 * M].set(-slow).at[2 * M : 3 * M].set(slow)
            cross_layer["bias"] = bias
        if self.memory_convolution:
            cross_layer["bias"] = cross_layer["bias"].at[4 * M + own].set(self.own_tap_bias)
        cross_layer["kernel"] = self._kernel(key, cross_layer["kernel"], own)
        params = {**params, "cross_layer": cross_layer}
        if self.normalization is not None:
            norm = params["norm"]
            params["norm"] = {**norm, "scale": norm["scale"] * self.norm_scale}
        return params

    def _kernel(self, key: Array, drawn: Array, own: int) -> Array:
        """W^h [K,..,K, M, Z] from that of the library; `own` is the own location's tap."""
        M, flat = self.features, drawn.reshape(-1, *drawn.shape[-2:])
        taps = flat.shape[0]
        if self.kernel == "orthogonal":
            keys = jax.random.split(key, taps)
            blocks = jnp.stack([recurrent_kernel(k, M, gates=4) for k in keys])
            flat = flat.at[..., : 4 * M].set(blocks * taps**-0.5)
        if self.kernel == "identity":
            flat = flat.at[own, :, :M].set(jnp.eye(M))
        if self.kernel == "inside":
            flat = flat * (taps / _mean_taps(self.tensor_shape, self.kernel_size)) ** 0.5
        return flat.reshape(drawn.shape)

    def update(
        self, params: Params, carry: TensorizedLSTMCarry, a: Array
    ) -> tuple[TensorizedLSTMCarry, Array]:
        carry, y = super().update(params, carry, a)
        if self.readout == "wave":
            waves = convolution.wave_index(self.tensor_shape, self.kernel_size)
            last = np.argwhere(np.asarray(waves) == self.delay)
            y = jnp.mean(carry.hidden[(slice(None), *last.T)], axis=1)
        return carry, y


@dataclasses.dataclass(frozen=True)
class StartedLSTM(LSTM):
    """An LSTM whose gates start otherwise.

    Attributes:
      forget_spread: the bias of the f gate starts at forget_bias + U(-forget_spread,
        forget_spread).
      chrono: as of a StartedTensorizedLSTM.
    """

    forget_spread: float = 0.0
    chrono: float = 0.0

    def init(self, key: Array, input_shape: InputShape) -> Params:
        params, M = super().init(key, input_shape), self.features
        bias, own = params["recurrent"]["bias"], jax.random.fold_in(key, 2)
        if self.chrono:
            slow = _chrono(own, M, self.chrono)
            bias = bias.at[:M].set(-slow).at[M : 2 * M].set(slow)
        spread = self.forget_spread * jax.random.uniform(own, (M,), minval=-1.0, maxval=1.0)
        bias = bias.at[M : 2 * M].add(spread)
        return {**params, "recurrent": {**params["recurrent"], "bias": bias}}


def _chrono(key: Array, M: int, steps: float) -> Array:
    return jnp.log(1 + jax.random.uniform(key, (M,)) * (steps - 2))


def _mean_taps(tensor_shape: tuple[int, ...], K: int) -> float:
    """The mean over locations of how many of a kernel's taps are on locations, or on x."""
    first = -(K // 2)
    taps = list(itertools.product(range(first, first + K), repeat=len(tensor_shape)))
    inside = sum(
        all(0 <= p + k < n for p, k, n in zip(at, tap, tensor_shape, strict=True))
        for at in np.ndindex(*tensor_shape)
        for tap in taps
    )
    return (inside + 1) / math.prod(tensor_shape)

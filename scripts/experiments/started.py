"""The tensorized LSTM with other starts and readouts than those of the library, to compare them.

python -m scripts.train --model=tlstm_jax.scripts.experiments.started:started_tlstm ..
"""

import dataclasses
import itertools
import math
from typing import Any

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
      spread: b^h of the f channels starts at forget_bias + U(-spread, spread), each its own.
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

    spread: float = 0.0
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
        noise_key, key = jax.random.split(key)
        cross_layer["bias"] = _with_times(self, noise_key, cross_layer["bias"], i=1, f=2)
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
    """An LSTM whose gates start otherwise; see StartedTensorizedLSTM for `spread` and `chrono`."""

    spread: float = 0.0
    chrono: float = 0.0

    def init(self, key: Array, input_shape: InputShape) -> Params:
        params = super().init(key, input_shape)
        bias = _with_times(self, key, params["recurrent"]["bias"], i=0, f=1)
        return {**params, "recurrent": {**params["recurrent"], "bias": bias}}


def _with_times(cell: Any, key: Array, bias: Array, *, i: int, f: int) -> Array:
    """The biases of all gates, with those of f, and perhaps i, spread; i and f: which gates."""
    M = cell.features
    draws = jax.random.uniform(key, (M,))
    if cell.chrono:
        slow = jnp.log(1 + draws * (cell.chrono - 2))
        bias = bias.at[i * M : (i + 1) * M].set(-slow)
    else:
        slow = bias[f * M : (f + 1) * M] + cell.spread * (2 * draws - 1)
    return bias.at[f * M : (f + 1) * M].set(slow)


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


def started_tlstm(
    features: int = 100,
    tensor_shape: tuple[int, ...] = (3,),
    kernel_size: int = 3,
    memory_convolution: bool = True,
    normalization: str = "channel",
    forget_bias: float = 1.0,
    input_scale: float | None = None,
    epsilon: float = 1e-5,
    spread: float = 0.0,
    chrono: float = 0.0,
    own_tap_bias: float = 0.0,
    norm_scale: float = 1.0,
    kernel: str = "normal",
    readout: str = "corner",
) -> StartedTensorizedLSTM:
    """As the zoo's tlstm, with the settings of StartedTensorizedLSTM."""
    return StartedTensorizedLSTM(
        features,
        tuple(tensor_shape),
        kernel_size=kernel_size,
        memory_convolution=memory_convolution,
        normalization=None if normalization == "none" else normalization,
        forget_bias=forget_bias,
        input_scale=input_scale,
        epsilon=epsilon,
        spread=spread,
        chrono=chrono,
        own_tap_bias=own_tap_bias,
        norm_scale=norm_scale,
        kernel=kernel,
        readout=readout,
    )

"""The extended Neural GPU: an active memory that writes its output on a tape, symbol by symbol.

Kaiser and Bengio, "Can Active Memory Replace Attention?", NIPS 2016.

    d_0 = S_n, a Neural GPU's last state                         the encoder, n steps
    d_{t+1} = CGRU_L(.. CGRU_1(d_t, p_t), p_t)                   the decoder, t = 0 .. n - 1
    y_t = d_{t+1}[0, t]
    p_0 = 0,  p_{t+1} = p_t,  p_{t+1}[0, t] = softmax(y_t W + b) E

p [w, n, M] is the output tape. In CGRU(d, p) a convolution of the tape, with kernels of its own, adds to
the sums of u, r and the candidate. In the paper the tape has embeddings of the true outputs in training,
and of the likeliest ones afterwards. A SequenceModel sees no targets: here the tape gets a mixture of
embeddings E, as a readout of the model's own weighs them, in training and afterwards.
"""

import dataclasses

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import check_size, linear, scaled_normal
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.models.cgru import Places, convolve
from tlstm_jax.models.neural_gpu import NeuralGPU
from tlstm_jax.recurrence.loop import select
from tlstm_jax.typing import Array, InputShape, Params, State


@dataclasses.dataclass(frozen=True)
class ExtendedNeuralGPU(NeuralGPU):
    """A Neural GPU with a decoder and an output tape; a SequenceModel that is not causal.

    y_t depends on the entire input and, by the tape, on y_0 .. y_{t-1}. Lengths, resets, relaxation
    (of encoder and decoder) and dropout are those of `NeuralGPU`.

    Parameters: `NeuralGPU`'s, and {"decoder": {"layer_0": .., ..}, each with {"tape": {"kernel" [k,
    k, M, 3M]}} in addition, "readout": {"kernel" [M, V], "bias" [V]}, "embedding": {"kernel" [V,
    M]}}, V the number of symbols of the tape.

    Attributes:
      num_outputs: V >= 1, the symbols of the output tape, which need not be the task's classes.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import ExtendedNeuralGPU
      >>> model = ExtendedNeuralGPU(4, num_outputs=10)
      >>> params, state = model.init(jax.random.key(0), 3)
      >>> _, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape, params["embedding"]["kernel"].shape
      ((5, 2, 4), (10, 4))
    """

    _: dataclasses.KW_ONLY
    num_outputs: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size("num_outputs", self.num_outputs)

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        I = vector_size(self, input_shape)
        of_encoder, of_decoder, of_readout, of_embedding = jax.random.split(key, 4)
        M, V = self.features, self.num_outputs
        params, state = super().init(of_encoder, I)
        return params | {
            "decoder": self._init_layers(of_decoder, tape=True),
            "readout": {
                "kernel": scaled_normal(of_readout, (M, V), 1.0),
                "bias": jnp.zeros((V,), jnp.float32),
            },
            "embedding": {"kernel": scaled_normal(of_embedding, (V, M), 1.0, fan_in=1)},
        }, state

    def _outputs(self, params: Params, xs: Array, place: Places, key: Array | None) -> Array:
        of_encoder, of_decoder = (None, None) if key is None else jax.random.split(key)
        layers, dtype, M = self._layers(params["decoder"]), xs.dtype, self.features

        def step(carry: tuple[Array, Array, Array], k: Array) -> tuple[Array, Array, Array]:
            d, tape, ys = carry
            d = self._drop(of_decoder, k, d, place)
            for layer in self._of_step(layers, k):
                written = convolve(tape, layer["tape"], self.kernel_size, place, dtype)
                d = self._cgru(layer, d, place, k, dtype=dtype, tape=written)
            # The k-th position of every sequence gets its output, and the tape its symbol.
            here = (place.index == k) & (k < place.length)
            y = d[..., :M]
            symbol = jax.nn.softmax(linear(y, params["readout"], dtype).astype(d.dtype))
            symbol = linear(symbol, params["embedding"], dtype)
            return d, select(here, symbol, tape), select(here, y, ys)

        S = self._encode(params, xs, place, of_encoder)
        start = S, jnp.zeros_like(xs), jnp.zeros_like(S[..., :M])
        return self._loop(step, start)[2]

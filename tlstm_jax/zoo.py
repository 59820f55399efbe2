"""Names for models, with their settings as plain values.

A model's settings are the keyword arguments of its function here, so that flags, presets and run
directories can hold them as they are.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from tlstm_jax.cells.elman import Elman
from tlstm_jax.cells.gru import GRU, ResetBeforeGRU
from tlstm_jax.cells.lstm import LSTM
from tlstm_jax.cells.tensorized import TensorizedLSTM
from tlstm_jax.cells.tensorized_rnn import TensorizedRNN
from tlstm_jax.models.sequence import as_sequence
from tlstm_jax.models.stacked import Stacked
from tlstm_jax.network import Network
from tlstm_jax.typing import SequenceModel

DTYPES = ("float32", "bfloat16")


def _dtype(name: str) -> Any:
    """What is computed in; None for the parameters' own float32."""
    if name not in DTYPES:
        raise ValueError(f"dtype is {name!r}; accepted are {', '.join(DTYPES)}")
    return None if name == "float32" else jnp.dtype(name)


def _normalization(name: str) -> str | None:
    return None if name == "none" else name


def tlstm(
    channels: int = 100,
    tensor_shape: Sequence[int] = (3,),
    kernel_size: int = 3,
    memory_convolution: bool = True,
    normalization: str = "none",
    forget_bias: float = 1.0,
    input_scale: float | None = None,
    remat_every: int | None = None,
    engine: str = "deferred",
    dtype: str = "float32",
    convolution_gradient: str = "auto",
) -> SequenceModel:
    """Tensorized LSTM; He et al., NIPS 2017."""
    cell = TensorizedLSTM(
        channels,
        tuple(tensor_shape),
        kernel_size,
        memory_convolution,
        _normalization(normalization),
        forget_bias=forget_bias,
        input_scale=input_scale,
        dtype=_dtype(dtype),
        convolution_gradient=convolution_gradient,
    )
    return as_sequence(cell, remat_every=remat_every, engine=engine)


def trnn(
    channels: int = 100,
    tensor_shape: Sequence[int] = (3,),
    kernel_size: int = 3,
    input_scale: float | None = None,
    remat_every: int | None = None,
    engine: str = "deferred",
    dtype: str = "float32",
    convolution_gradient: str = "auto",
) -> SequenceModel:
    """Tensorized RNN, tanh; He et al., NIPS 2017."""
    cell = TensorizedRNN(
        channels,
        tuple(tensor_shape),
        kernel_size,
        input_scale=input_scale,
        dtype=_dtype(dtype),
        convolution_gradient=convolution_gradient,
    )
    return as_sequence(cell, remat_every=remat_every, engine=engine)


def elman(
    channels: int = 100,
    input_scale: float | None = None,
    remat_every: int | None = None,
    engine: str = "deferred",
    dtype: str = "float32",
) -> SequenceModel:
    """Elman RNN; Elman, 1990."""
    return as_sequence(
        Elman(channels, input_scale, _dtype(dtype)), remat_every=remat_every, engine=engine
    )


def lstm(
    channels: int = 100,
    forget_bias: float = 1.0,
    input_scale: float | None = None,
    remat_every: int | None = None,
    engine: str = "deferred",
    dtype: str = "float32",
) -> SequenceModel:
    """LSTM with forget gate; Hochreiter and Schmidhuber, 1997, Gers et al., 2000."""
    cell = LSTM(channels, forget_bias, input_scale, _dtype(dtype))
    return as_sequence(cell, remat_every=remat_every, engine=engine)


def gru(
    channels: int = 100,
    reset: str = "after",
    input_scale: float | None = None,
    remat_every: int | None = None,
    engine: str = "deferred",
    dtype: str = "float32",
) -> SequenceModel:
    """GRU, the reset gate before or after the recurrent product; Cho et al., 2014."""
    if reset not in ("before", "after"):
        raise ValueError(f"reset is {reset!r}; accepted are before, after")
    kind = GRU if reset == "after" else ResetBeforeGRU
    return as_sequence(
        kind(channels, input_scale, _dtype(dtype)), remat_every=remat_every, engine=engine
    )


def stacked_lstm(
    channels: int = 100,
    num_layers: int = 2,
    shared: bool = False,
    forget_bias: float = 1.0,
    input_scale: float | None = None,
    remat_every: int | None = None,
    engine: str = "deferred",
    dtype: str = "float32",
) -> SequenceModel:
    """Stacked LSTM, with separate or shared weights; Graves et al., 2013, He et al., 2017."""
    cell = LSTM(channels, forget_bias, None if shared else input_scale, _dtype(dtype))
    return Stacked(cell, num_layers, shared, input_scale if shared else None, remat_every, engine)


MODELS: Mapping[str, Callable[..., SequenceModel]] = {
    "tlstm": tlstm,
    "trnn": trnn,
    "elman": elman,
    "lstm": lstm,
    "gru": gru,
    "stacked_lstm": stacked_lstm,
}


def model_settings(name: str) -> dict[str, Any]:
    """The settings of a model and their defaults.

    Raises:
      ValueError: there is no such model.
    """
    if name not in MODELS:
        raise ValueError(f"model is {name!r}; accepted are {', '.join(MODELS)}")
    return {k: p.default for k, p in inspect.signature(MODELS[name]).parameters.items()}


def make_network(
    name: str, *, input_size: int, output_size: int, tokens: bool, **settings: Any
) -> Network:
    """The network of a named model, for inputs and classes as a task has them.

    For tokens, `input_scale` defaults to 1: a one-hot vector has one active input.

    Raises:
      ValueError: an unknown model or setting, or a setting's value.
    """
    known = model_settings(name)
    for key in settings:
        if key not in known:
            raise ValueError(
                f"{key} is not a setting of model {name}; accepted are {', '.join(known)}"
            )
    if tokens and settings.get("input_scale") is None:
        settings["input_scale"] = 1.0
    return Network(MODELS[name](**settings), input_size, output_size, tokens)

"""Models from plain settings, where their class alone does not suffice."""

import dataclasses
from typing import Any

from tlstm_jax.cells.elman import Elman
from tlstm_jax.cells.gru import GRU, ResetBeforeGRU
from tlstm_jax.cells.hm_lstm import HMLSTM
from tlstm_jax.cells.linear import check_size
from tlstm_jax.cells.lstm import LSTM
from tlstm_jax.cells.row_lstm import RowLSTM
from tlstm_jax.cells.tensorized.lstm import TensorizedLSTM
from tlstm_jax.cells.tensorized.rnn import TensorizedRNN
from tlstm_jax.models.annealed_hm_lstm import AnnealedHMLSTM
from tlstm_jax.models.chain import Chain
from tlstm_jax.models.dilated import dilated_stack
from tlstm_jax.models.residual import Residual
from tlstm_jax.models.sequence import as_sequence
from tlstm_jax.models.stacked import Stacked

FEATURES = 100
# Of the tensorized LSTM: names -> forget_spread.
INITS = {"spread": TensorizedLSTM.forget_spread, "paper": 0.0}
_MOST_DILATED = 12  # the trace grows with the largest dilation


def tlstm(
    features: int = FEATURES,
    tensor_shape: tuple[int, ...] = (3,),
    kernel_size: int = 3,
    memory_convolution: bool = True,
    normalization: str = "channel",
    init: str = "spread",
    forget_bias: float = 1.0,
    forget_spread: float | None = None,
    input_scale: float | None = None,
    kernel_scale: float = 1.0,
    epsilon: float = 1e-5,
    dtype: Any = None,
    convolution: str = "auto",
    convolution_gradient: str = "auto",
) -> TensorizedLSTM:
    """A tensorized LSTM.

    Args:
      normalization: none, channel (over the M channels of each location) or layer (over all
        locations and channels).
      init: how the f channels start: spread, over memories short and long, or paper: all at
        forget_bias, as published (1, and 4 for images).
      forget_spread: by how much they differ from forget_bias at most; None: 3 with init=spread, 0
        with init=paper.
    """
    if init not in INITS:
        raise ValueError(f"init is {init!r}; accepted are {', '.join(INITS)}")
    if forget_spread is None:
        forget_spread = INITS[init]
    return TensorizedLSTM(
        features,
        tuple(tensor_shape),
        kernel_size=kernel_size,
        memory_convolution=memory_convolution,
        normalization=None if normalization == "none" else normalization,
        forget_bias=forget_bias,
        forget_spread=forget_spread,
        input_scale=input_scale,
        kernel_scale=kernel_scale,
        epsilon=epsilon,
        dtype=dtype,
        convolution=convolution,
        convolution_gradient=convolution_gradient,
    )


def trnn(
    features: int = FEATURES,
    tensor_shape: tuple[int, ...] = (3,),
    kernel_size: int = 3,
    input_scale: float | None = None,
    dtype: Any = None,
    convolution: str = "auto",
    convolution_gradient: str = "auto",
) -> TensorizedRNN:
    """A tensorized RNN."""
    return TensorizedRNN(
        features,
        tuple(tensor_shape),
        kernel_size=kernel_size,
        input_scale=input_scale,
        dtype=dtype,
        convolution=convolution,
        convolution_gradient=convolution_gradient,
    )


def gru(
    features: int = FEATURES,
    reset: str = "after",
    input_scale: float | None = None,
    dtype: Any = None,
) -> GRU | ResetBeforeGRU:
    """A GRU.

    Args:
      reset: whether the reset gate acts before or after the recurrent product.
    """
    return _gru(reset)(features, input_scale=input_scale, dtype=dtype)


def _gru(reset: str) -> type[GRU | ResetBeforeGRU]:
    if reset not in ("before", "after"):
        raise ValueError(f"reset is {reset!r}; accepted are before, after")
    return GRU if reset == "after" else ResetBeforeGRU


def stacked_lstm(
    features: int = FEATURES,
    num_layers: int = 2,
    shared: bool = False,
    forget_bias: float = 1.0,
    input_scale: float | None = None,
    dtype: Any = None,
    remat_every: int | None = None,
    engine: str = "auto",
) -> Chain | Stacked:
    """A stacked LSTM.

    Args:
      features: M, of every layer.
      num_layers: L >= 1.
      shared: whether the layers share their weights.
      forget_bias: initial bias of the f gates; the others start at 0.
      input_scale: initial standard deviation of the first layer's W; None is variance scaling,
        1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.
      remat_every, engine: see `unroll`.
    """
    above = LSTM(features, forget_bias=forget_bias, dtype=dtype)  # its inputs are hidden states
    if shared:
        return Stacked(
            above,
            num_layers,
            shared=shared,
            input_scale=input_scale,
            remat_every=remat_every,
            engine=engine,
        )
    check_size("num_layers", num_layers)
    first = LSTM(features, forget_bias=forget_bias, input_scale=input_scale, dtype=dtype)
    layers = (first, *[above] * (num_layers - 1))
    return Chain(
        tuple(as_sequence(cell, remat_every=remat_every, engine=engine) for cell in layers)
    )


def dilated(
    features: int = FEATURES,
    cell: str = "gru",
    num_layers: int = 4,
    input_scale: float | None = None,
    dtype: Any = None,
    reset: str = "after",
) -> Chain:
    """A dilated network; layer l has dilation 2^(l - 1).

    Args:
      features: M, of every layer.
      cell: elman, gru or lstm.
      num_layers: L >= 1.
      input_scale: initial standard deviation of the first layer's W; None is variance scaling,
        1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.
      reset: whether the reset gate acts before or after the recurrent product.
    """
    cells = {"elman": Elman, "gru": _gru(reset), "lstm": LSTM}
    if cell not in cells:
        raise ValueError(f"cell is {cell!r}; accepted are {', '.join(cells)}")
    check_size("num_layers", num_layers)
    if num_layers > _MOST_DILATED:
        raise ValueError(
            f"num_layers is {num_layers}; accepted are 1 to {_MOST_DILATED}, since layer l has "
            "dilation 2^(l - 1)"
        )
    first = cells[cell](features, input_scale=input_scale, dtype=dtype)
    layer = cells[cell](features, dtype=dtype)
    return dilated_stack((first, *[layer] * (num_layers - 1)))


def hm_lstm(
    features: int = FEATURES,
    num_layers: int = 3,
    anneal_steps: int = 10_000,
    forget_bias: float = 1.0,
    input_scale: float | None = None,
    dtype: Any = None,
    remat_every: int | None = None,
    engine: str = "auto",
) -> AnnealedHMLSTM:
    """An HM-LSTM whose boundaries get steeper in training.

    Args:
      features: M, of every layer and of y.
      num_layers: L >= 2.
      forget_bias: initial bias of the f gates; the others start at 0.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.
    """
    cell = HMLSTM(
        features,
        num_layers=num_layers,
        forget_bias=forget_bias,
        input_scale=input_scale,
        dtype=dtype,
    )
    return AnnealedHMLSTM(cell, anneal_steps=anneal_steps, remat_every=remat_every, engine=engine)


def row_lstm(
    features: int = FEATURES,
    num_layers: int = 2,
    spatial_shape: tuple[int, ...] = (),
    kernel_size: int = 3,
    input_kernel_size: int | None = None,
    mask: str = "A",
    residual: bool = False,
    forget_bias: float = 1.0,
    input_scale: float | None = None,
    dtype: Any = None,
    remat_every: int | None = None,
    engine: str = "auto",
) -> Chain:
    """A stack of Row LSTMs.

    Args:
      features: M, of every layer.
      num_layers: L >= 1.
      spatial_shape: (W,), the width of a row; () is that of the inputs, where they are known.
      kernel_size: K, odd, of the convolution of the row above.
      input_kernel_size: odd, of the first layer's convolution of its row before it is masked; None
        is K. That of the layers above is K.
      mask: A, B or none: whether y at c sees, of its own row, x before c (to predict x), also at c,
        or all of it. Above a layer with mask A, layers have mask B.
      residual: whether there are residual connections around all layers but the first.
      forget_bias: initial bias of the f gates; the others start at 0.
      input_scale: initial standard deviation of the first layer's W; None is variance scaling,
        1 / sqrt(taps I).
      dtype: the dtype of the computation; None is the parameters' dtype.
      remat_every, engine: see `unroll`.
    """
    check_size("num_layers", num_layers)
    cell = RowLSTM(
        features,
        spatial_shape=spatial_shape,
        kernel_size=kernel_size,
        mask="B" if mask == "A" else mask,
        forget_bias=forget_bias,
        dtype=dtype,
    )
    first = dataclasses.replace(
        cell, mask=mask, input_kernel_size=input_kernel_size, input_scale=input_scale
    )
    over_time = {"remat_every": remat_every, "engine": engine}
    above = as_sequence(cell, **over_time)
    above = Residual(above) if residual else above
    return Chain((as_sequence(first, **over_time), *[above] * (num_layers - 1)))

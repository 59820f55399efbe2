"""How long training steps take, each form of them beside the others and beside other libraries."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax.numpy as jnp

from tlstm_jax import GRU, LSTM, Stacked, TensorizedLSTM, as_sequence
from tlstm_jax.devices import platforms
from tlstm_jax.scripts.accelerator.record import Clock, Record
from tlstm_jax.scripts.bench.contenders import flax_lstm, installed, ours, torch_lstm
from tlstm_jax.scripts.bench.measure import Contender, in_turns
from tlstm_jax.scripts.bench.sections import SIZES, Size
from tlstm_jax.typing import SequenceModel

LARGE = (SIZES[0], SIZES[2], SIZES[4])
SMALL = (Size(2, 8, 6, 2),)
# XLA's options: all of a program one CUDA graph, and convolutions that can be part of one.
GRAPH = {
    "xla_gpu_enable_command_buffer": "FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,"
    "DYNAMIC_SLICE_FUSION,WHILE",
    "xla_gpu_command_buffer_unroll_loops": True,
}
CONV_FUSION = {"xla_gpu_experimental_enable_conv_fusion": True}
MOST_NODES = 40_000  # of a graph


@dataclasses.dataclass(frozen=True)
class Form:
    """A way to compute a model's training step.

    Attributes:
      model: of a dtype.
      operations, loop: what replaces the platform's own choices.
      options: XLA's.
    """

    model: Callable[[Any], SequenceModel]
    operations: platforms.Choices | None = None
    loop: platforms.LoopChoices | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


def forms(size: Size) -> dict[str, Form]:
    """Forms by name, the most informative first."""
    _, M, T, L = size

    def tensor(*shape: int, engine: str = "deferred") -> Callable[[Any], SequenceModel]:
        return lambda dtype: as_sequence(
            TensorizedLSTM(M, shape, normalization="channel", dtype=dtype), engine=engine
        )

    def one(cell: Any, engine: str) -> Callable[[Any], SequenceModel]:
        return lambda dtype: as_sequence(cell(M, dtype=dtype), engine=engine)

    by_convolution = dataclasses.replace(
        platforms.CUDA,
        convolution=("conv", "conv"),
        convolution_gradient="xla",
        taps="matrix",
    )
    plain = platforms.PLAIN_LOOP
    found = {
        "2D+CN": Form(tensor(L)),
        "2D+CN, by convolution, plain loop": Form(tensor(L), by_convolution, plain),
        "2D+CN, by products, plain loop": Form(tensor(L), None, plain),
        "2D+CN, not unrolled": Form(
            tensor(L), None, dataclasses.replace(platforms.CUDA_LOOP, unroll=1)
        ),
        "LSTM": Form(one(LSTM, "deferred")),
        "LSTM, cudnn": Form(one(LSTM, "cudnn")),
        "stacked LSTM": Form(lambda dtype: Stacked(LSTM(M, dtype=dtype), L, engine="deferred")),
        "stacked LSTM, cudnn": Form(lambda dtype: Stacked(LSTM(M), L, engine="cudnn")),
        "GRU": Form(one(GRU, "deferred")),
        "3D+CN": Form(tensor(L, L)),
        "LSTM, fused": Form(one(LSTM, "fused")),
        "GRU, fused": Form(one(GRU, "fused")),
        "2D+CN, fused": Form(tensor(L, engine="fused")),
        "2D+CN, by convolution, conv_fusion": Form(tensor(L), by_convolution, plain, CONV_FUSION),
    }
    if T * 20 <= MOST_NODES:
        for name in ("2D+CN", "LSTM", "2D+CN, by products, plain loop"):
            found[f"{name}, one graph"] = dataclasses.replace(found[name], options=GRAPH)
    return found


def sizes(record: Record, clock: Clock, small: bool) -> None:
    """Training steps of every form at each size, float32 and, of some, bfloat16."""
    for size in SMALL if small else LARGE:
        for peer, make in {"torch": torch_lstm, "flax": flax_lstm}.items():
            if installed(peer):
                name, (B, M, T, L) = f"{peer}'s LSTM, L layers", size
                contender = lambda make=make: make(name, B, M, T, L, 0.0)  # noqa: B023, E731
                _time(record, size, clock, name, contender)
        for name, form in forms(size).items():
            for dtype in (None, jnp.bfloat16) if name in ("2D+CN", "LSTM", "3D+CN") else (None,):
                shown = name if dtype is None else f"{name}, bfloat16"
                _time(record, size, clock, shown, lambda f=form, d=dtype, s=size: _step(f, d, s))


def depths(record: Record, clock: Clock, small: bool) -> None:
    """Run time as the tensor gets deeper, beside the stacked LSTM: the paper's figure."""
    M, T = (8, 6) if small else (100, 52)
    for B in (15, 1):
        for L in (1, 2) if small else range(1, 11):
            size = Size(B, M, T, L)
            rows = {
                "2D": lambda s=size: _step(
                    Form(lambda _: as_sequence(TensorizedLSTM(s.M, (s.L,)))), None, s
                ),
                "stacked LSTM": lambda s=size: _step(
                    Form(lambda _: Stacked(LSTM(s.M), s.L)), None, s
                ),
            }
            for name, make in rows.items():
                _time(record, size, clock, f"depth: {name}", make)


def _time(
    record: Record, size: Size, clock: Clock, name: str, make: Callable[[], Contender]
) -> None:
    if not clock.left:
        record.add("speed", name, **size._asdict(), left_out="no time was left")
        return

    def measure() -> dict[str, Any]:
        begin = time.perf_counter()
        contender = make()
        contender.call()  # builds CUDA graphs, where there are any
        compiled = time.perf_counter() - begin
        in_turns([contender], seconds=min(1.0, clock.left), least=5)
        quartiles = [1e3 * second for second in contender.spread]
        shown = {"ms": 1e3 * contender.median, "quartiles": quartiles}
        return {**size._asdict(), **shown, "seconds to compile": compiled}

    record.attempt("speed", name, measure)


def _step(form: Form, dtype: Any, size: Size) -> Contender:
    """Value and gradient of a loss on [T, B, M], compiled."""
    B, M, T, _ = size
    with _choices(form):
        return ours("", form.model(dtype), B, M, T, 0.0, options=form.options)


@contextlib.contextmanager
def _choices(form: Form) -> Iterator[None]:
    """A context in which programs are traced as `form` says."""
    with contextlib.ExitStack() as stack:
        for name, choices in (("choose", form.operations), ("choose_loop", form.loop)):
            if choices is not None:
                stack.enter_context(
                    mock.patch.object(platforms, name, lambda f, *x, c=choices: f(c, *x))
                )
        yield

"""From a cell or model to the network's body: layers, directions, residuals, kinds of dropout."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from tlstm_jax.cells.linear import check_rate, check_size
from tlstm_jax.cells.recurrent_dropout import RecurrentDropout
from tlstm_jax.cells.zoneout import Zoneout
from tlstm_jax.models.bidirectional import Bidirectional
from tlstm_jax.models.chain import Chain
from tlstm_jax.models.dropout import Dropout
from tlstm_jax.models.learned_carry import LearnedCarry
from tlstm_jax.models.residual import Residual
from tlstm_jax.models.sequence import as_sequence
from tlstm_jax.typing import Cell, SequenceModel


@dataclasses.dataclass(frozen=True)
class Wrapping:
    """What can be put around every model; plain values, under the names of their flags.

    Attributes:
      num_layers: number of layers; of a model that has layers, its own.
      bidirectional: whether every layer runs in both directions of time; not causal.
      residual: whether there are residual connections around all layers but the first.
      input_dropout: rate of dropout on inputs.
      dropout: rate of dropout on the outputs of every layer.
      variational_dropout: whether these masks are the same for all time steps.
      recurrent_dropout: rate of variational dropout on a cell's state.
      zoneout_hidden: rate of zoneout on a cell's hidden state.
      zoneout_memory: rate of zoneout on a cell's memory.
      learned_carry: whether a cell's initial carry is learned.
      map_readout: of a model of maps, what one of all locations' outputs is read from: flatten
        (all features of all locations) or mean (over locations).
      carry_scale: initial range of a learned carry, plus and minus; None: as the cell has it.
      remat_every: save a cell's carry only every so many steps, recompute the rest; None: save all.
      engine: what runs a cell over time, with which gradient: auto, deferred, cudnn, fused or scan.
    """

    num_layers: int = 1
    bidirectional: bool = False
    residual: bool = False
    input_dropout: float = 0.0
    dropout: float = 0.0
    variational_dropout: bool = False
    recurrent_dropout: float = 0.0
    zoneout_hidden: float = 0.0
    zoneout_memory: float = 0.0
    learned_carry: bool = False
    map_readout: str = "flatten"
    carry_scale: float | None = None
    remat_every: int | None = None
    engine: str = "auto"

    def __post_init__(self) -> None:
        check_size("num_layers", self.num_layers)
        for name in (*RATES, "recurrent_dropout", "zoneout_hidden", "zoneout_memory"):
            check_rate(name, getattr(self, name))

    def wrap(
        self, model: Cell | SequenceModel, above: Cell | SequenceModel | None = None
    ) -> SequenceModel:
        """The network's body: of `model` and, in layers above the first, `above` (None: the same).

        Raises:
          ValueError: a setting does not apply to this model.
        """
        models = [model] + [model if above is None else above] * (self.num_layers - 1)
        layers = tuple(self._layer(self._over_time(layer), n) for n, layer in enumerate(models))
        return layers[0] if len(layers) == 1 else Chain(layers)

    def _over_time(self, model: Cell | SequenceModel) -> SequenceModel:
        """A cell with what belongs around a cell, as a sequence model."""
        over_time = {"remat_every": self.remat_every, "engine": self.engine}
        if hasattr(model, "apply"):
            for field in dataclasses.fields(self):
                name = field.name
                if name in CELL_SETTINGS and getattr(self, name) != field.default:
                    raise ValueError(
                        f"{name} is {getattr(self, name)}; accepted for {type(model).__name__}, "
                        f"not a single cell, is {field.default}"
                    )
            return model
        if self.recurrent_dropout:
            with _naming("recurrent_dropout", self.recurrent_dropout):
                model = RecurrentDropout(model, rate=self.recurrent_dropout)
        for kind in ("hidden", "memory"):
            if rate := getattr(self, f"zoneout_{kind}"):
                with _naming(f"zoneout_{kind}", rate):
                    Zoneout(model, **{kind: rate})
        if self.zoneout_hidden or self.zoneout_memory:
            model = Zoneout(model, hidden=self.zoneout_hidden, memory=self.zoneout_memory)
        if not self.learned_carry:
            return as_sequence(model, **over_time)
        as_sequence(model, **over_time)  # checks remat_every and engine
        with _naming("learned_carry", True):
            return LearnedCarry(model, scale=self.carry_scale, **over_time)

    def _layer(self, model: SequenceModel, n: int) -> SequenceModel:
        if self.bidirectional:
            model = Bidirectional(model, model)
        inputs = 0.0 if n else self.input_dropout
        if inputs or self.dropout:
            model = Dropout(
                model,
                input_rate=inputs,
                output_rate=self.dropout,
                variational=self.variational_dropout,
            )
        return Residual(model) if self.residual and n else model


@contextlib.contextmanager
def _naming(name: str, value: Any) -> Iterator[None]:
    """Errors name the setting, not a part's field."""
    try:
        yield
    except ValueError as e:
        raise ValueError(f"{name} is {value}; {e}") from None


# The rates of dropout, and their names in `Dropout`.
RATES = {"input_dropout": "input_rate", "dropout": "output_rate"}

# What is put around a cell, before it becomes a sequence model.
CELL_SETTINGS = (
    "recurrent_dropout",
    "zoneout_hidden",
    "zoneout_memory",
    "learned_carry",
    "carry_scale",
    "remat_every",
    "engine",
)

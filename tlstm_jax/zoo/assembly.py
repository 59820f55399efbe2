"""From a cell or model to the network's body: layers, directions, residuals, kinds of dropout."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from tlstm_jax.cells.linear import check_rate, check_size, is_integer
from tlstm_jax.cells.recurrent_dropout import RecurrentDropout
from tlstm_jax.cells.zoneout import Zoneout
from tlstm_jax.models.adaptive_computation import AdaptiveComputation, check_cost
from tlstm_jax.models.bidirectional import Bidirectional
from tlstm_jax.models.block import Block
from tlstm_jax.models.chain import Chain
from tlstm_jax.models.dropout import Dropout
from tlstm_jax.models.learned_carry import LearnedCarry
from tlstm_jax.models.residual import Residual
from tlstm_jax.models.sequence import as_sequence
from tlstm_jax.models.skip_connections import SkipConnections
from tlstm_jax.network import check_map_readout
from tlstm_jax.typing import Cell, SequenceModel


@dataclasses.dataclass(frozen=True)
class Wrapping:
    """What can be put around every model; plain values, under the names of their flags.

    Attributes:
      num_layers: number of layers; of a model that has layers, its own.
      bidirectional: whether every layer runs in both directions of time; not causal.
      residual: whether there are residual connections around all layers but the first.
      skip_connections: whether all layers see the input, and all are read out.
      block: whether every layer is in a block, with a residual connection around it.
      block_features: the width of a block's outputs; None: as many as the model has.
      block_normalize: whether a block's inputs and its model's outputs are normalized.
      block_conv_size: steps that a block's convolution before the model sees; 1: there is none.
      block_gate: whether a block's outputs are gated.
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
      max_ponder: a cell reads every input up to so many times, with adaptive computation time; 0:
        once, as the cell is.
      ponder_cost: the cost of each time, added to the loss; None: 0.01.
      ponder_epsilon: by how much the halting probabilities of an input may miss 1.
      remat_every: save a cell's carry only every so many steps, recompute the rest; None: save all.
      engine: what runs a cell over time, with which gradient: auto, deferred, cudnn, fused,
        parallel or scan.
    """

    num_layers: int = 1
    bidirectional: bool = False
    residual: bool = False
    skip_connections: bool = False
    block: bool = False
    block_features: int | None = None
    block_normalize: bool = True
    block_conv_size: int = 4
    block_gate: bool = True
    input_dropout: float = 0.0
    dropout: float = 0.0
    variational_dropout: bool = False
    recurrent_dropout: float = 0.0
    zoneout_hidden: float = 0.0
    zoneout_memory: float = 0.0
    learned_carry: bool = False
    map_readout: str = "flatten"
    carry_scale: float | None = None
    max_ponder: int = 0
    ponder_cost: float | None = None
    ponder_epsilon: float = 0.01
    remat_every: int | None = None
    engine: str = "auto"

    def __post_init__(self) -> None:
        check_size("num_layers", self.num_layers)
        check_map_readout(self.map_readout)
        for name in (*RATES, "recurrent_dropout", "zoneout_hidden", "zoneout_memory"):
            check_rate(name, getattr(self, name))
        if not is_integer(self.max_ponder, 0):
            raise ValueError(f"max_ponder is {self.max_ponder}; accepted are integers >= 0")
        check_cost(self.ponder_cost or 0.0)
        if not 0 <= self.ponder_epsilon < 1:
            raise ValueError(
                f"ponder_epsilon is {self.ponder_epsilon}; accepted are numbers in [0, 1)"
            )
        check_size("block_conv_size", self.block_conv_size)
        if self.block_features is not None:
            check_size("block_features", self.block_features)
        if self.block and self.residual:
            raise ValueError("residual is True; accepted with block is False")
        if self.skip_connections and self.residual:
            raise ValueError("residual is True; accepted with skip_connections is False")
        if self.max_ponder and self.learned_carry:
            raise ValueError(f"max_ponder is {self.max_ponder}; accepted with learned_carry is 0")

    def wrap(
        self, model: Cell | SequenceModel, above: Cell | SequenceModel | None = None
    ) -> SequenceModel:
        """The network's body: of `model` and, in layers above the first, `above` (None: the same).

        Raises:
          ValueError: a setting does not apply to this model.
        """
        models = [model] + [model if above is None else above] * (self.num_layers - 1)
        layers = tuple(self._layer(self._over_time(layer), n) for n, layer in enumerate(models))
        if len(layers) == 1:
            return layers[0]
        if not self.skip_connections:
            return Chain(layers)
        whole = SkipConnections(layers)  # of whose inputs, which all layers see, some are dropped
        return self._dropout(whole, self.input_dropout, 0.0)

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
        if self.max_ponder:
            return self._pondering(model)
        if not self.learned_carry:
            return as_sequence(model, **over_time)
        as_sequence(model, **over_time)  # checks remat_every and engine
        with _naming("learned_carry", True):
            return LearnedCarry(model, scale=self.carry_scale, **over_time)

    def _pondering(self, cell: Cell) -> SequenceModel:
        """A cell with adaptive computation time, which has its own loop."""
        if self.engine not in ("auto", "scan"):
            raise ValueError(f"engine is {self.engine}; accepted with max_ponder are auto, scan")
        costs = {} if self.ponder_cost is None else {"ponder_cost": self.ponder_cost}
        with _naming("max_ponder", self.max_ponder):
            return AdaptiveComputation(
                cell,
                max_ponder=self.max_ponder,
                epsilon=self.ponder_epsilon,
                remat_every=self.remat_every,
                **costs,
            )

    def _layer(self, model: SequenceModel, n: int) -> SequenceModel:
        if self.bidirectional:
            model = Bidirectional(model, model)
        skips = self.skip_connections and self.num_layers > 1
        if self.block:
            with _naming("block", True):
                model = Block(
                    model,
                    self.block_features or model.features,
                    embed=n == 0 or skips,
                    normalize=self.block_normalize,
                    conv_size=self.block_conv_size,
                    gate=self.block_gate,
                )
        model = self._dropout(model, 0.0 if n or skips else self.input_dropout, self.dropout)
        return Residual(model) if self.residual and n else model

    def _dropout(self, model: SequenceModel, inputs: float, outputs: float) -> SequenceModel:
        if not (inputs or outputs):
            return model
        variational = self.variational_dropout
        return Dropout(model, input_rate=inputs, output_rate=outputs, variational=variational)


@contextlib.contextmanager
def _naming(name: str, value: Any) -> Iterator[None]:
    """Errors name the setting, not a part's field."""
    try:
        yield
    except ValueError as e:
        raise ValueError(f"{name} is {value}; {e}") from None


# The rates of dropout, and their names in `Dropout`.
RATES = {"input_dropout": "input_rate", "dropout": "output_rate"}

# What training reads at every step, and its name there; where it is None or 0, nothing reads it.
APPLIED = RATES | {"ponder_cost": "ponder_cost"}

# What is put around a cell, before it becomes a sequence model.
CELL_SETTINGS = (
    "recurrent_dropout",
    "zoneout_hidden",
    "zoneout_memory",
    "learned_carry",
    "carry_scale",
    "max_ponder",
    "ponder_cost",
    "ponder_epsilon",
    "remat_every",
    "engine",
)

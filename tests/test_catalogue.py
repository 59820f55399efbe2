"""What the catalogue says of its models is read from them, and holds."""

import dataclasses

import cases
import jax
import jax.numpy as jnp
import model_cases
import model_oracles
import pytest
import test_batch_norm_lstm

from tlstm_jax import cells, models, zoo
from tlstm_jax.cells.tensorized.convolution import FORWARDS, GRADIENTS
from tlstm_jax.models.sequence import CellModel
from tlstm_jax.recurrence.engine import ENGINES
from tlstm_jax.scripts import train
from tlstm_jax.zoo.assembly import Wrapping
from tlstm_jax.zoo.descriptions import described
from tlstm_jax.zoo.kinds import KINDS, kind_of

NAMES = pytest.mark.parametrize("name", zoo.MODELS)
ORACLES = {type(case.cell): case.oracle for case in cases.CASES}
ORACLES |= {type(case.model): case.oracle for case in model_cases.MODELS}
# It couples the examples of a batch, so it has its own tests.
ORACLES[type(test_batch_norm_lstm.MODEL)] = model_oracles.batch_norm_lstm


def _is_model(value):
    return hasattr(value, "step") or hasattr(value, "apply")


def parts_of(model):
    """The types of a model and of what it is made of."""
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            if _is_model(part):
                yield from parts_of(part)
    if not isinstance(model, CellModel):  # a cell in a loop, which the cells' cases are in, too
        yield type(model)


def made(name):
    return zoo.MODELS[name].make(4)


@NAMES
def test_every_model_has_a_case_with_an_oracle_and_so_have_its_parts(name):
    for part in parts_of(made(name)):
        assert part in ORACLES, (
            f"{part.__name__} has no row, with an oracle, in ZOO of tests/cases.py, if it is a cell, "
            "or in MODELS of tests/model_cases.py"
        )
        assert callable(ORACLES[part])


# What is exported and no model of its own: what can be put around one, and parts of those that are here.
AROUND = {"RecurrentDropout", "Zoneout", "Stacked", "Residual", "Dropout", "LearnedCarry"}
AROUND |= {
    "AdaptiveComputation",
    "Bidirectional",
    "as_sequence",
    "dilated_stack",
    "last_output",
    "SkipConnections",
    "Block",
}
PARTS = {"ResetBeforeGRU": "gru", "SRUCell": "sru"}


def test_every_exported_cell_and_model_is_in_the_catalogue():
    exported = {*cells.__all__, *models.__all__}
    entries = {part.__name__ for name in zoo.MODELS for part in parts_of(made(name))}
    forgotten = exported - entries - AROUND - set(PARTS)
    assert not forgotten, "these have no entry in MODELS of tlstm_jax/zoo/catalogue.py"
    assert exported >= AROUND | set(PARTS) and set(PARTS.values()) <= set(zoo.MODELS)


def test_a_forgotten_model_is_found():
    @dataclasses.dataclass(frozen=True)
    class Forgotten(type(made("lstm"))):
        pass

    assert Forgotten not in ORACLES and list(parts_of(Forgotten(3))) == [Forgotten]


def test_kinds():
    kinds = {name: entry.kind for name, entry in zoo.MODELS.items()}
    assert kinds["bn_lstm"] == "sequential"
    of = {kind: {name for name, k in kinds.items() if k == kind} for kind in KINDS}
    assert of["composed"] >= {"stacked_lstm", "hm_lstm", "dilated"}
    assert of["parallel"] >= {"wavenet", "qrnn", "sru", "min_gru", "min_lstm", "lru"}
    assert of["parallel"] >= {"s4d", "s5", "mamba", "rg_lru"}
    assert of["chunked"] >= {
        "gla",
        "retnet",
        "hgrn2",
        "mamba2",
        "matrix_lstm",
        "delta_net",
        "rwkv7",
    }
    assert {"fs_lstm", "grid_lstm", "tlstm", "lstm"} <= of["cell"]


def test_a_loop_with_products_is_not_parallel():
    assert kind_of(made("sru")) == "parallel"

    @dataclasses.dataclass(frozen=True)
    class Looping(type(made("sru"))):
        def apply(self, params, state, carry, xs, **options):
            W = jnp.eye(2)
            return jax.lax.scan(lambda h, x: (x @ W, x), xs[0], xs)

    assert kind_of(Looping(2)) == "sequential"


@NAMES
def test_every_setting_is_described(name):
    texts, settings = zoo.setting_descriptions(name), zoo.model_settings(name)
    assert texts.keys() == settings.keys(), (
        "Attributes: of the class that makes the model, or Args: of its function, describe each setting"
    )
    assert all(text.endswith(".") and "\n" not in text for text in texts.values()), texts


def test_what_is_around_every_model_is_described():
    assert described(Wrapping).keys() == {field.name for field in dataclasses.fields(Wrapping)}
    texts = zoo.setting_descriptions("tlstm")
    for names, text in (
        (ENGINES, texts["engine"]),
        (FORWARDS, texts["convolution"]),
        (GRADIENTS, texts["convolution_gradient"]),
        (zoo.DTYPES, texts["dtype"]),
    ):
        assert all(name in text for name in names)


def test_descriptions_are_read_from_docstrings():
    def make(a: int, b: int, c: int, d: int) -> Documented:
        """Makes one.

        Args:
          a, b: of the
            function: both.

        Returns:
          c: no parameter.
        """

    assert described(Documented) == {
        "b": "of the class.",
        "c": "of the class, too.",
        "d": "of its base.",
    }
    assert described(make) == described(Documented) | {k: "of the function: both." for k in "ab"}


class Base:
    """A base.

    Attributes:
      c: of the base.
      d: of its base.
    """


class Documented(Base):
    """A class.

    Attributes:
      b: of the class.
      c: of the class, too.

    Behind it:
      e: nothing.
    """


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("forget_bias", "Initial bias of the f gate; the others start at 0. (tlstm, lstm, "),
        ("scale", "Initial scale of every BN (bn_lstm); alpha, in the version of 2018; "),
        ("tensor_shape", "(P_1..P_D); any number of axes. (tlstm, trnn) Default: 3."),
        ("residual", "Whether there are residual connections around all layers but the first. Def"),
        ("bias_scale", "Initial standard deviation of b, around the means above (layer_norm"),
    ],
)
def test_help_of_flags(name, text):
    assert name in train.RUN_FLAGS
    assert train.flags.FLAGS[name].help.startswith(text)

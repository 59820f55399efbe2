"""Names for models, with their settings as plain values.

A model's settings are the arguments of its class or function in `catalogue.MODELS` (`features` is
always the width M), and what can be put around every model (`assembly.Wrapping`), so that flags,
presets and run directories can hold them as they are. A setting of the model's own overrides one of
`Wrapping` with the same name.

A user's own cell or model is named with its module, `make_model("my_package.my_cells:MGU")`: a
frozen dataclass, or a function that returns one. Its settings are its fields or parameters, with
annotations and defaults (`names.parameters`); `features` needs no default, and `dtype` is that of
the zoo's models. The module is imported.
"""

import dataclasses
import functools
import inspect
import numbers
import types
import typing
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import check_size
from tlstm_jax.cells.shapes import sizes_of
from tlstm_jax.names import accepted, is_own, parameters
from tlstm_jax.network import Network
from tlstm_jax.overrides import initial
from tlstm_jax.typing import Cell, InputShape, SequenceModel
from tlstm_jax.zoo.assembly import APPLIED, Wrapping
from tlstm_jax.zoo.catalogue import check_protocol, entry
from tlstm_jax.zoo.descriptions import described
from tlstm_jax.zoo.makers import FEATURES

DTYPES = ("float32", "bfloat16")
OF_INPUT = {"input_scale", "tt_input_shape"}  # settings of x, not of hidden states
_DESCRIBED = {  # settings that are plain values here only
    "features": "M, the width of a layer, or of one location of a tensor.",
    "dtype": f"the dtype of the computation: {' or '.join(DTYPES)}.",
}


def _parameters(name: str) -> dict[str, inspect.Parameter]:
    """The arguments of a model's class or function."""
    if is_own(name):
        return dict(parameters("model", name, untyped={"dtype"}, required={"features"}))
    return dict(inspect.signature(entry(name).make).parameters)


def current_names(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A model's settings under their current names.

    Runs, sweeps and cards of trained models may date from when the width was called `channels`, and
    WaveNet's `skip_features`, with `channels` for its residual path.
    """
    settings = dict(settings)
    if "channels" in settings and not is_own(name):
        settings.setdefault("features", settings.pop("channels"))
        if name == "wavenet" and (skip := settings.pop("skip_features", None)) is not None:
            settings |= {"residual_features": settings["features"], "features": skip}
    return settings


def own_settings(name: str) -> tuple[str, ...]:
    """A model's own settings, without those of `Wrapping`."""
    return tuple(_parameters(name))


def setting_types(name: str) -> dict[str, Any]:
    """The settings of a model and their types, as they are annotated; see `model_settings`."""
    own = {k: p.annotation for k, p in _parameters(name).items()}
    around = {field.name: field.type for field in dataclasses.fields(Wrapping)}
    return around | own | ({"dtype": str} if "dtype" in own else {})


def model_settings(name: str) -> dict[str, Any]:
    """The settings of a model and their defaults, its own first.

    Raises:
      ValueError: there is no such model.
    """
    defaults = entry(name).defaults
    own = {k: p.default for k, p in _parameters(name).items()}
    if "dtype" in own:
        own["dtype"] = DTYPES[0]
    if own.get("features") is inspect.Parameter.empty:
        own["features"] = FEATURES
    around = {field.name: field.default for field in dataclasses.fields(Wrapping)}
    return own | {k: v for k, v in around.items() if k not in own} | dict(defaults)


def setting_descriptions(name: str) -> dict[str, str]:
    """The settings of a model and what they mean, from its docstring and that of `Wrapping`.

    Those that a user's own model does not describe are missing.
    """
    around, own = described(Wrapping), _parameters(name)
    texts = described(entry(name).make)
    texts = {k: texts[p.name] for k, p in own.items() if p.name in texts}
    texts |= {k: text for k, text in _DESCRIBED.items() if k in own}
    return texts | {k: text for k, text in around.items() if k not in own}


def traced_settings(name: str) -> Mapping[str, tuple[str, str]]:
    """The float settings of a model that can be overridden, so that a sweep can vmap over them.

    Returns:
      Setting -> ("init" or "apply", the Network's function that reads it; its name in `override`).
      Those of "apply" are only replaced if they are given and not 0.

    Raises:
      ValueError: there is no such model.
    """
    return _traced(name, entry(name).make)


@functools.lru_cache(maxsize=256)  # a sweep asks for every member
def _traced(name: str, make: Any) -> Mapping[str, tuple[str, str]]:
    """`make` is what `name` names, which a notebook may redefine."""
    del make
    size = example_input_size(name, 2)
    network = make_network(name, input_size=size, output_size=2, tokens=isinstance(size, int))
    own, kinds = own_settings(name), setting_types(name)
    traced = {k: ("apply", there) for k, there in APPLIED.items() if k not in own}
    floats = [k for k in own if kinds[k] in (float, float | None)]
    traced |= {k: ("init", k) for k in floats if k in initial_settings(network)}
    return types.MappingProxyType(traced)


@functools.lru_cache(maxsize=256)
def initial_settings(network: Network) -> frozenset[str]:
    """The float settings that only its initialization reads; see `overrides.initial`."""
    return initial(network)


def example_input_size(name: str, features: int = 1) -> InputShape:
    """An `input_size` that a model accepts: `features`, of vectors wherever it reads these."""
    axes = entry(name).axes
    return (*(1,) * axes, features) if axes else features


def idle_settings(name: str, settings: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    """A model's settings that have no effect, given the others.

    Args:
      settings: those given; the others have their defaults.

    Returns:
      Setting -> (the accepted value, which has no effect either; when it is the only one).
    """
    known = model_settings(name)
    s = known | dict(settings)
    own = own_settings(name)
    layers = 1 if "num_layers" in own and "residual" not in own else s["num_layers"]
    one_layer = "with one layer"
    idle = {}
    for between in ("residual", "skip_connections"):
        if s[between] and layers == 1:
            idle[between] = (False, f"{one_layer} (a model with layers of its own counts as one)")
    for shares in ("shared", "tied"):
        if s.get(shares) and s["num_layers"] == 1:
            idle[shares] = (False, one_layer)
    if s.get("relaxation") == 1:
        for name in ("relaxation_pull", "relaxation_growth", "relaxation_steps"):
            if s[name] != known[name]:
                idle[name] = (known[name], "with one copy (relaxation=1)")
    if s["variational_dropout"] and not (s["dropout"] or s["input_dropout"]):
        idle["variational_dropout"] = (False, "without dropout or input_dropout")
    if s["map_readout"] != "flatten" and "spatial_shape" not in known:
        idle["map_readout"] = ("flatten", "of a model that reads no maps")
    nothing = (None, 0.0, known["carry_scale"])  # 0.0: what runs were written with by default
    if s["carry_scale"] not in nothing and not s["learned_carry"]:
        idle["carry_scale"] = (known["carry_scale"], "without learned_carry")
    for of_block in ("features", "normalize", "conv_size", "gate"):
        if not s["block"] and s[f"block_{of_block}"] != known[f"block_{of_block}"]:
            idle[f"block_{of_block}"] = (known[f"block_{of_block}"], "without block")
    for of_pondering in ("ponder_cost", "ponder_epsilon"):  # of one inner step, N and R are 1
        if s["max_ponder"] in (0, 1) and s[of_pondering] != known[of_pondering]:
            idle[of_pondering] = (known[of_pondering], "without max_ponder of 2 or more")
    return idle


def make_model(name: str, **settings: Any) -> SequenceModel:
    """A named model.

    Args:
      name: one of `MODELS`, or module:name of a user's own.

    Raises:
      ValueError: an unknown model or setting, a value that is not accepted, or one without effect.

    Example:
      >>> from tlstm_jax import make_model
      >>> model = make_model("rhn", depth=3, num_layers=2)
      >>> model.features, model.delay
      (100, 0)
    """
    known = model_settings(name)
    for key in settings:
        if key not in known:
            raise ValueError(f"{key} is not a setting of model {name}; {accepted(key, known)}")
    settings = known | {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    kinds = setting_types(name)
    for key, value in settings.items():
        if kinds[key] in (float, float | None) and not _is_float(value, kinds[key]):
            raise ValueError(f"{key} is {value!r}; accepted are finite numbers of float32")
    for key, (value, where) in idle_settings(name, settings).items():
        raise ValueError(f"{key} is {settings[key]}; accepted {where} is {value}")
    if "features" in settings:
        check_size("features", settings["features"])
    if "dtype" in settings:
        if settings["dtype"] not in DTYPES:
            raise ValueError(f"dtype is {settings['dtype']!r}; accepted are {', '.join(DTYPES)}")
        # None: the parameters' own float32.
        settings["dtype"] = None if settings["dtype"] == "float32" else jnp.dtype(settings["dtype"])
    own, chosen_entry = _parameters(name), entry(name)

    def make(**changed: Any) -> Cell | SequenceModel:
        chosen = settings | changed
        model = chosen_entry.make(**{k: chosen[k] for k in own})
        if is_own(name):
            check_protocol(name, model)
        return model

    wrapping = Wrapping(**{k: v for k, v in settings.items() if k not in own})
    # Above the first layer inputs are hidden states, whatever x is.
    of_input = {key: None for key in OF_INPUT & own.keys() if _may_be_none(kinds[key])}
    return wrapping.wrap(make(), make(**of_input))


def _may_be_none(kind: Any) -> bool:
    return types.NoneType in typing.get_args(kind)


def _is_float(value: Any, kind: Any) -> bool:
    if value is None:
        return kind is not float
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return number and abs(value) < 2.0**128  # no NaN either


def make_network(
    name: str,
    *,
    input_size: InputShape,
    output_size: int,
    tokens: bool,
    per_location: bool = False,
    **settings: Any,
) -> Network:
    """The network of a named model, for a task's inputs and classes.

    For tokens, an `input_scale` of None is 1: a one-hot vector has one active input. Of a model of
    maps, an empty `spatial_shape` is that of the inputs.

    Raises:
      ValueError: an unknown model or setting, or a value that is not accepted.
    """
    known, axes = model_settings(name), entry(name).axes
    if axes and len(sizes_of(input_size)) != axes + 1:
        raise ValueError(
            f"input_size is {input_size}; accepted by {name}, which reads maps, are {axes} spatial "
            f"{'axis' if axes == 1 else 'axes'} and the features"
        )
    optional = setting_types(name).get("input_scale") == float | None
    if tokens and optional and settings.get("input_scale", known["input_scale"]) is None:
        settings["input_scale"] = 1.0
    if known.get("spatial_shape") == () and not settings.get("spatial_shape"):
        settings["spatial_shape"] = sizes_of(input_size)[:-1]
    return Network(
        make_model(name, **settings),
        input_size,
        output_size,
        tokens=tokens,
        per_location=per_location,
        map_readout=settings.get("map_readout", known["map_readout"]),
    )


def count_parameters(network: Network) -> int:
    """The number of trained parameters."""
    params, _ = jax.eval_shape(network.init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(params))

"""Trained weights that come with the package: `trained()` names them, `load(name)` loads them."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from tlstm_jax.names import accepted
from tlstm_jax.network import Network
from tlstm_jax.typing import Params
from tlstm_jax.zoo.make import current_names, make_network
from tlstm_jax.zoo.weights import read_weights

TRAINED = pathlib.Path(__file__).parent / "trained"  # <name>.json, a card, and <name>.npz

_CARD: Mapping[str, Any] = {
    "model": str,
    "model_settings": dict,
    "input_size": int | list,
    "output_size": int,
    "tokens": bool,
    "task": str,
    "task_settings": dict,
    "train_settings": dict,
    "vocabulary": list | None,
    "parameters": int,
    "metric": str,
    "test": dict,
    "step": int,
    "minutes": float,
    "command": str,
    "versions": dict,
}


def trained() -> tuple[str, ...]:
    """The names of the trained models that come with the package."""
    return tuple(sorted(path.stem for path in TRAINED.glob("*.json")))


def card(name: str) -> dict[str, Any]:
    """The card of a trained model, as `scripts.release` writes it.

    Returns:
      A dict of plain values: "model" and "model_settings", "input_size", "output_size" and
      "tokens" (and perhaps "per_location"), as `make_network` takes them; "task", "task_settings"
      and "train_settings", what it was trained on and how; "vocabulary", for a text the bytes of
      its tokens, ascending, otherwise None; "parameters", their number; "metric", the name of the
      task's metric, and "test", all metrics of these weights on the test part; "step", at which
      they were saved; "command", which made them, "minutes" and "versions".

    Raises:
      ValueError: there is no such trained model, or its card is damaged.
    """
    if name not in trained():
        raise ValueError(
            f"trained model is {name!r}; {accepted(name, trained())}: other names of "
            "tlstm_jax.zoo.MODELS come without weights"
        )
    path = TRAINED / f"{name}.json"
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged; accepted is a card in JSON")
    for field, kind in _CARD.items():
        if not isinstance(found.get(field), kind):
            called = getattr(kind, "__name__", kind)
            raise ValueError(f"{path} is damaged; accepted is a card whose {field} is {called}")
    return found | {"model_settings": current_names(found["model"], found["model_settings"])}


def load(name: str) -> tuple[Network, Params]:
    """A trained model that comes with the package, and its parameters.

    >>> from tlstm_jax import zoo
    >>> model, params = zoo.load("memorization")
    >>> carry = model.init_carry(batch_size=1, params=params)

    Args:
      name: one of `trained()`.

    Returns:
      (model, params): a Network without state (pass () for it), and its parameters, a pytree of
      float32 arrays on the default device.

    Raises:
      ValueError: there is no such trained model, or its files are damaged.
      OSError: its weights cannot be opened.
    """
    known = card(name)
    sizes = {size: known[size] for size in ("input_size", "output_size", "tokens")}
    sizes["per_location"] = known.get("per_location", False)
    network = make_network(known["model"], **sizes, **known["model_settings"])
    like, _ = jax.eval_shape(network.init, jax.random.key(0))
    return network, read_weights(TRAINED / f"{name}.npz", like)

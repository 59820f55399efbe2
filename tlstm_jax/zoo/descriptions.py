"""What settings mean, from the docstrings of the classes and functions that have them."""

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from tlstm_jax.overrides import parts
from tlstm_jax.typing import PyTree

_SECTION = re.compile(r"^(?:Attributes|Args):$")
_ENTRY = re.compile(r"^  (\w+(?:, \w+)*): (.*)$")
_CONTINUED = re.compile(r"^ {4,}(\S.*)$")


def described(make: Callable[..., Any]) -> dict[str, str]:
    """Setting -> its text in the section "Attributes:" or "Args:", on one line.

    For a field that a class does not describe, its base's text is taken; for a parameter of a
    function, that of the class or classes in its return annotation.
    """
    texts: dict[str, str] = {}
    for source in _sources(make):
        texts |= {k: v for k, v in _entries(source.__doc__ or "") if k not in texts}
    return texts


def remarks(model: Any, params: PyTree) -> list[str]:
    """What the parts of a model say of themselves, by `about(params)`, each once.

    Args:
      params: the model's parameters, or their shapes.
    """
    said = (part.about(params) for part in parts(model) if hasattr(part, "about"))
    return list(dict.fromkeys(said))


def _sources(make: Any) -> Iterator[Any]:
    if inspect.isclass(make):
        yield from make.__mro__[:-1]
        return
    yield make
    returned = inspect.get_annotations(make, eval_str=True).get("return")
    alternatives = (
        typing.get_args(returned) if isinstance(returned, types.UnionType) else [returned]
    )
    for kind in alternatives:
        if inspect.isclass(kind):
            yield from _sources(kind)


def _entries(docstring: str) -> Iterator[tuple[str, str]]:
    within, names, text = False, [], []
    for line in [*inspect.cleandoc(docstring).splitlines(), "end"]:
        entry, continued = _ENTRY.match(line), _CONTINUED.match(line)
        if within and continued and names:
            text.append(continued[1])
            continue
        for name in names:
            yield name, " ".join(text)
        names, text = [], []
        if _SECTION.match(line):
            within = True
        elif within and entry:
            names, text = entry[1].split(", "), [entry[2]]
        elif line.strip():
            within = False

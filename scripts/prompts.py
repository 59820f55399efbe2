"""From what a user writes to tokens, and from tokens to what is shown."""

import dataclasses
import functools
import itertools
import re
from collections.abc import Sequence

import jax
import numpy as np

from tlstm_jax.tasks.char_lm import CharLM
from tlstm_jax.tasks.data import text
from tlstm_jax.tasks.synthetic import Synthetic
from tlstm_jax.typing import Batch, Task

_SAMPLES = 64  # of which places are scored always, which sometimes; more than enough for both


def prompt_bytes(prompt: str) -> bytes:
    """The bytes that stand on the command line; those that are not UTF-8 as they are."""
    return prompt.encode("utf-8", "surrogateescape")


def alphabet_of(task: Task) -> Sequence[str]:
    """What the tokens of a task are shown as; of an image task, its classes."""
    if isinstance(task, Synthetic):
        return task.alphabet
    if isinstance(task, CharLM):
        return [chr(b) if 32 < b < 127 else " " for b in task.vocabulary] + ["?"]
    return [str(n) for n in range(task.output_size)]


def parse(prompt: str, task: Task) -> np.ndarray:
    """The tokens of a prompt, int32 [T].

    Raises:
      ValueError: letters that the task has not, or another form than its own.
    """
    if isinstance(task, CharLM):
        return text.encode(prompt_bytes(prompt), task.vocabulary)
    tokens = _tokens(prompt, task.alphabet)
    form = of_length(task, len(tokens))
    blank = len(task.alphabet) - 1
    if form is None or not np.array_equal(tokens == blank, _drawn(form).inputs[:, 0] == blank):
        raise ValueError(
            f"prompt {prompt!r} has not the form of {task.name}; accepted is the like of "
            f"{_example(task)}"
        )
    if task.name == "addition" and (tokens[1] == 0 or tokens[form.size + 2] == 0):
        raise ValueError(f"prompt {prompt!r} has a number that begins with 0; accepted are others")
    return tokens


def of_length(task: Synthetic, length: int) -> Synthetic | None:
    """The task with sequences of so many steps, also where it was trained on others; None: there is none."""
    for size in itertools.count(1):
        other = dataclasses.replace(task, size=size)
        steps = jax.eval_shape(functools.partial(_draw, other)).inputs.shape[0]
        if steps >= length:
            return other if steps == length else None
    return None


def answer_text(task: Synthetic, tokens: np.ndarray) -> str:
    """The answer [T] of a network, with spaces where nothing is asked of it.

    Places that are scored of some questions only, as the last digit of a sum, count while no blank was
    answered.
    """
    mask, blank = _drawn(task).mask, len(task.alphabet) - 1  # [T, B]
    always, ever = mask.all(axis=1), mask.any(axis=1)
    shown = []
    for t, token in enumerate(tokens):
        asked = always[t] or (ever[t] and tokens[t - 1] != blank)
        shown.append(task.alphabet[token] if asked else " " * len(task.alphabet[blank]))
    return "".join(shown).rstrip(" ")


def _tokens(prompt: str, alphabet: Sequence[str]) -> np.ndarray:
    names = sorted(map(re.escape, alphabet), key=len, reverse=True)
    found = re.findall("|".join([*names, "(?s:.)"]), prompt)
    for name in found:
        if name not in alphabet:
            raise ValueError(f"prompt holds {name!r}; accepted are {''.join(alphabet)}")
    return np.array([alphabet.index(name) for name in found], np.int32)


def _draw(task: Synthetic) -> Batch:
    return task.sample(jax.random.key(0), _SAMPLES, task.size, len(task.alphabet) - 1)


def _drawn(task: Synthetic) -> Batch:
    return jax.tree.map(np.asarray, _draw(task))


def _example(task: Synthetic) -> str:
    return task.text(_drawn(task).inputs[:, 0])

"""Character-level language modelling over the bytes of a text.

The text is split by position into 90 % training, 5 % validation and 5 % test; the vocabulary is
that of the training part, and `tasks.data.text` says how bytes and symbols correspond.

A part is read as contiguous streams side by side. With c_0, c_1, .. the characters from a stream's
start, step g reads c_g. A model with delay d answers it at step g + d, so the output of step g is
scored on c_{g-d+1}, and the first d outputs of a stream are not scored.

Training: stream b is the b-th of `batch_size` pieces of equal length, an integer number of
segments. The state is carried from segment to segment; after the last one, the streams start again
with their first, which begins the next epoch. The characters at the end of the training part that
do not fill a segment of every stream, at most `batch_size * segment_length`, are never read. The
last d characters of each stream, whose outputs would come after its end, are never scored. The last
d inputs of a segment get truncated gradients: their outputs fall into the next one.

Evaluation: all characters of a part except its first, each once. They are divided among
`eval_batch_size` streams as evenly as possible; a stream's first input is the character before the
first that it predicts. Zero inputs (token -1) at the end flush the last d outputs. Every stream
begins without context, so fewer streams give slightly fewer bits per character, and take longer.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import jax.numpy as jnp
import numpy as np

from tlstm_jax.tasks.base import BaseTask
from tlstm_jax.tasks.data import text
from tlstm_jax.tasks.scoring import CROSS_ENTROPY, score
from tlstm_jax.typing import Array, Batch, Sums

Data = Mapping[str, np.ndarray]

_EVAL_SPLITS = ("valid", "test")
_EVAL_STREAM = 1000  # characters that a stream of the default evaluation has at least


class ByteText:
    """Tokens for bytes: those of `vocabulary`, and the unknown one."""

    vocabulary: Sequence[int]
    tokens = True
    autoregressive = True

    @property
    def input_size(self) -> int:
        """Symbols: the vocabulary and the unknown one."""
        return len(self.vocabulary) + 1

    @property
    def output_size(self) -> int:
        """The same symbols."""
        return self.input_size

    @property
    def token_names(self) -> Sequence[str]:
        """The letters, with spaces for what is not printable."""
        return [chr(b) if 32 < b < 127 else " " for b in self.vocabulary] + ["?"]

    def encode(self, prompt: str) -> np.ndarray:
        """The tokens of a text's bytes, int32 [T]; bytes that are not UTF-8 are kept."""
        return text.encode(prompt.encode("utf-8", "surrogateescape"), self.vocabulary)

    def text(self, tokens: Array) -> str:
        """The text of tokens [T]; what is unknown, or not UTF-8, is U+FFFD."""
        return text.decode(np.asarray(tokens), self.vocabulary).decode(errors="replace")


@dataclass(frozen=True)
class Vocabulary(ByteText):
    """What generation needs of a text: its bytes, ascending."""

    vocabulary: tuple[int, ...]


@dataclass(frozen=True)
class CharLM(ByteText, BaseTask):
    """A text split into streams; made by `char_lm`.

    Attributes:
      source: what the text is, for the screen.
      data: symbols, uint8 [N], of the parts "train", "valid" and "test".
      vocabulary: the bytes of symbols 0, 1, ..; one more symbol, the last, is the unknown one.
      batch_size: streams over the training part.
      segment_length: inputs of every stream in one batch, T.
      eval_batch_size: streams over the validation or test part.
    """

    source: str
    data: Data = field(repr=False)
    vocabulary: tuple[int, ...] = field(repr=False)
    batch_size: int
    segment_length: int
    eval_batch_size: int

    name = "char_lm"
    stream = True
    unit = "characters"
    metric = "bpc"
    metric_labels = CROSS_ENTROPY

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.segment_length < 1:
            raise ValueError(f"segment_length is {self.segment_length}; accepted are integers >= 1")
        if self.segments_per_epoch < 1:
            raise ValueError(
                f"the training part has {self.data['train'].size} bytes, but batch_size="
                f"{self.batch_size} streams of segment_length={self.segment_length} need at least "
                f"{self.batch_size * self.segment_length + 1}; {self.source}"
            )
        for split in _EVAL_SPLITS:
            if self.data[split].size <= self.eval_batch_size:
                raise ValueError(
                    f"the {split} part has {self.data[split].size} bytes, but eval_batch_size="
                    f"{self.eval_batch_size} streams need at least {self.eval_batch_size + 1}; "
                    f"{self.source}"
                )

    @property
    def units_per_step(self) -> int:
        """Characters read by one training step."""
        return self.batch_size * self.segment_length

    def with_vocabulary(self, vocabulary: Sequence[int]) -> "CharLM":
        """The same text in the symbols of another vocabulary, that of a trained model.

        Args:
          vocabulary: bytes, ascending; all others become the unknown symbol. What is already
            unknown stays so, even if its byte is among them.

        Raises:
          ValueError: all bytes are in it, which leaves no symbol for what is already unknown.
        """
        vocabulary = tuple(vocabulary)
        unknown = len(vocabulary)
        if unknown == 256 and any(self.unknown_counts.values()):
            raise ValueError(
                "vocabulary has 256 bytes; accepted for a text with unknown ones are up to 255"
            )
        known = {byte: symbol for symbol, byte in enumerate(vocabulary)}
        table = np.array([*(known.get(byte, unknown) for byte in self.vocabulary), unknown])
        data = {split: table.astype(np.uint8)[part] for split, part in self.data.items()}
        return replace(self, data=data, vocabulary=vocabulary)

    @property
    def segments_per_epoch(self) -> int:
        """Training steps after which the streams start again."""
        return (self.data["train"].size - 1) // self.units_per_step

    @property
    def unknown_counts(self) -> dict[str, int]:
        """How many characters of each part are unknown, that is, not in the training part."""
        unknown = len(self.vocabulary)
        return {split: int(np.sum(symbols == unknown)) for split, symbols in self.data.items()}

    @property
    def about(self) -> str:
        """What the text is, and how much of it is unknown."""
        unknown = ", ".join(f"{n} in {split}" for split, n in self.unknown_counts.items() if n)
        return f"{self.source}; bytes unseen in its training part: {unknown or 'none'}"

    def notes(self, split: str) -> dict[str, int]:
        """How many characters are not predicted, and how many are unknown."""
        return {
            "excluded_characters": self.excluded(split),
            "unknown_characters": self.unknown_counts[split],
        }

    def excluded(self, split: str) -> int:
        """Characters that an evaluation of `split` leaves out: the first, never predicted."""
        _check_split(split)
        return 1

    def train_batch(self, data: Data, key: Array, step: Array, delay: int) -> Batch:
        """Segment `step` of the training streams: T = segment_length, B = batch_size, no key.

        Raises:
          ValueError: segment_length is not longer than the delay.
        """
        del key
        if delay >= self.segment_length:
            raise ValueError(
                f"segment_length is {self.segment_length}; accepted with a model of delay {delay} "
                f"are integers >= {delay + 1}"
            )
        length = self.segments_per_epoch * self.segment_length
        starts = np.arange(self.batch_size, dtype=np.int32) * length
        lengths = np.full_like(starts, length)
        segment = jnp.asarray(step, jnp.int32) % self.segments_per_epoch
        return self._segment(data["train"], starts, lengths, segment, delay)

    def num_eval_batches(self, split: str, delay: int) -> int:
        """Segments of the longest stream over `split`, and of the `delay` zero inputs after it."""
        _check_split(split)
        longest = math.ceil((self.data[split].size - 1) / self.eval_batch_size)
        return math.ceil((longest + delay) / self.segment_length)

    def eval_batch(self, data: Data, key: Array, split: str, index: Array, delay: int) -> Batch:
        """Segment `index` of the streams over `split`, B = eval_batch_size, no key.

        The batches are to be run in order, with the state carried from each to the next.
        """
        del key
        _check_split(split)
        least, longer = divmod(self.data[split].size - 1, self.eval_batch_size)
        stream = np.arange(self.eval_batch_size, dtype=np.int32)
        lengths = least + (stream < longer).astype(np.int32)
        starts = stream * least + np.minimum(stream, longer)
        return self._segment(data[split], starts, lengths, jnp.asarray(index, jnp.int32), delay)

    def metrics(self, logits: Array, batch: Batch) -> Sums:
        """Per scored character: "loss" (nats), "bpc" (bits per character) and "accuracy"."""
        sums = score(logits, batch)
        nats, count = sums["loss"]
        return {
            "loss": sums["loss"],
            "bpc": (nats / math.log(2), count),
            "accuracy": sums["accuracy"],
        }

    def _segment(
        self, symbols: Array, starts: np.ndarray, lengths: np.ndarray, segment: Array, delay: int
    ) -> Batch:
        """Segment `segment` of streams at `starts` [B] that have `lengths` [B] inputs."""
        starts, lengths = starts[None], lengths[None]  # [1, B]
        steps = jnp.arange(self.segment_length, dtype=jnp.int32)
        g = (segment * self.segment_length + steps)[:, None]  # [T, 1]

        def take(positions: Array) -> Array:  # clipped where a mask follows
            return jnp.take(symbols, positions, mode="clip").astype(jnp.int32)

        return Batch(
            inputs=jnp.where(g < lengths, take(starts + g), -1),  # [T, B]
            targets=take(starts + g - delay + 1),  # [T, B]
            mask=(g >= delay) & (g < lengths + delay),  # [T, B]
            restart=jnp.full(starts.shape[1], segment == 0),  # [B]
        )


def char_lm(
    data_path: str | os.PathLike[str] | None = None,
    batch_size: int = 100,
    segment_length: int = 50,
    eval_batch_size: int | None = None,
) -> CharLM:
    """The language-modelling task on the text at `data_path`.

    Args:
      data_path: a text, as bytes; plain, .gz, or .zip such as enwik8.zip. None: Python's own help
        topics.
      batch_size: streams over the training part.
      segment_length: inputs of every stream in one step; must be longer than the model's delay.
      eval_batch_size: streams in an evaluation. None: batch_size, or fewer where the validation
        part is too short to give each 1000 characters.

    Raises:
      FileNotFoundError: there is nothing at `data_path`.
      ValueError: the file cannot be read as text, the text is too short for the sizes asked for, or
        a size is less than 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax.tasks.char_lm import char_lm
      >>> task = char_lm(batch_size=20, segment_length=30)  # of Python's help topics
      >>> batch = task.train_batch(task.data, jax.random.key(0), jnp.int32(0), 0)
      >>> batch.inputs.shape, bool((batch.targets[:-1] == batch.inputs[1:]).all())
      ((30, 20), True)
    """
    if data_path is None:
        whole = text.help_topics()
        source = f"text: Python's help topics ({len(whole):,} bytes), since no data_path was given"
    else:
        whole = text.read_text(data_path)
        source = f"text: {os.fspath(data_path)} ({len(whole):,} bytes)"
    ends = len(whole) * 90 // 100, len(whole) * 95 // 100
    parts = {"train": whole[: ends[0]], "valid": whole[ends[0] : ends[1]], "test": whole[ends[1] :]}
    vocabulary = text.make_vocabulary(parts["train"])
    if eval_batch_size is None:
        eval_batch_size = max(1, min(batch_size, len(parts["valid"]) // _EVAL_STREAM))
    return CharLM(
        source=source,
        data={split: text.to_symbols(part, vocabulary) for split, part in parts.items()},
        vocabulary=vocabulary,
        batch_size=batch_size,
        segment_length=segment_length,
        eval_batch_size=eval_batch_size,
    )


def _check_split(split: str) -> None:
    if split not in _EVAL_SPLITS:
        raise ValueError(f"split is {split!r}; accepted are {', '.join(_EVAL_SPLITS)}")

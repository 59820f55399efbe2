"""Multi-query associative recall: the values that belong to keys, each asked once.

Arora, Eyuboglu, Timalsina, Johnson, Poli, Zou, Rudra and Re, "Zoology: Measuring and Improving
Recall in Efficient Language Models", ICLR 2024: pairs of a key and a value, and then the keys in
another order; each is to be answered by its value, at once. There, other tokens stand between the
questions. For 3 pairs:

    input   c <4> k <1> f <9>   k c f
    target                      <1> <4> <9>
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from tlstm_jax.tasks.base import BaseTask
from tlstm_jax.tasks.synthetic import check_sizes
from tlstm_jax.tasks.words import letters
from tlstm_jax.typing import Array, Batch


@dataclasses.dataclass(frozen=True)
class MultiQueryRecall(BaseTask):
    """Keys with a value each, and then every key once more.

    Chance is 1 / num_values, and 1 / num_pairs for a model that knows the values but not whose
    they are.

    Attributes:
      num_pairs: keys with a value; evaluations go up to 8 times as many.
      num_keys: to choose from, no key twice.
      num_values: to choose from.
      eval_samples: fresh samples of an evaluation.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax.tasks.multi_query_recall import MultiQueryRecall
      >>> task = MultiQueryRecall(num_pairs=3, num_values=10)
      >>> batch = task.train_batch((), jax.random.key(0), jnp.int32(0), 0)
      >>> question = task.text(batch.inputs[:, 0])
      >>> batch.inputs.shape, question, task.answer(batch.inputs[:, 0], batch.targets[:, 0])
      ((9, 64), 'F<8>k<7>5<5>Fk5', '<8><7><5>')
    """

    num_pairs: int = 8
    num_keys: int = 64
    num_values: int = 64
    batch_size: int = 64
    eval_samples: int = 1000
    eval_batch_size: int = 250

    name = "multi_query_recall"
    tokens = True
    metric = "accuracy"
    target = 0.99
    length_setting = "num_pairs"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(num_values=self.num_values)
        if not 1 <= self.num_pairs <= self.num_keys:
            raise ValueError(
                f"num_pairs is {self.num_pairs}; accepted are 1 to {self.num_keys}, as many as keys"
            )

    @property
    def input_size(self) -> int:
        return self.num_keys + self.num_values

    @property
    def output_size(self) -> int:
        return self.num_values

    @property
    def token_names(self) -> tuple[str, ...]:
        return (*_keys(self.num_keys), *self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(f"<{n}>" for n in range(self.num_values))

    def draw(self, key: Array, batch_size: int) -> Batch:
        """Fresh samples: inputs, targets and mask [3 num_pairs, B]."""
        K, B = self.num_pairs, batch_size
        of_keys, of_values, of_order = jax.random.split(key, 3)
        keys = jnp.broadcast_to(
            jnp.arange(self.num_keys, dtype=jnp.int32)[:, None], (self.num_keys, B)
        )
        keys = jax.random.permutation(of_keys, keys, axis=0, independent=True)[:K]
        values = jax.random.randint(of_values, (K, B), 0, self.num_values, jnp.int32)
        order = jnp.broadcast_to(jnp.arange(K, dtype=jnp.int32)[:, None], (K, B))
        order = jax.random.permutation(of_order, order, axis=0, independent=True)
        asked, answers = (jnp.take_along_axis(of, order, axis=0) for of in (keys, values))
        pairs = jnp.stack([keys, self.num_keys + values], axis=1).reshape(2 * K, B)
        inputs = jnp.concatenate([pairs, asked])
        targets = jnp.concatenate([jnp.zeros_like(pairs), answers])
        step = jnp.broadcast_to(jnp.arange(3 * K)[:, None], targets.shape)
        return Batch(inputs, targets, mask=step >= 2 * K)

    def answer(self, inputs: np.ndarray, outputs: np.ndarray) -> str:
        """What a network answers to the keys that are asked for."""
        return "".join(self.class_names[int(n)] for n in outputs[2 * len(outputs) // 3 :])

    def encode(self, prompt: str) -> np.ndarray:
        """The tokens of a question, int32 [T], of any number of pairs.

        Raises:
          ValueError: it has not the form of a question.
        """
        tokens = super().encode(prompt)
        K = len(tokens) // 3
        keys, values, asked = tokens[: 2 * K : 2], tokens[1 : 2 * K : 2], tokens[2 * K :]
        right = (
            len(tokens) == 3 * K > 0
            and (keys < self.num_keys).all()
            and (values >= self.num_keys).all()
            and len(set(keys.tolist())) == K
            and sorted(asked.tolist()) == sorted(keys.tolist())
        )
        if not right:
            a, b = self.token_names[0], self.token_names[min(1, self.num_keys - 1)]
            raise ValueError(
                f"prompt {prompt!r} has not the form of {self.name}; accepted is the like of "
                f"{a}<0>{b}<3>{b}{a}, every key once among the pairs and once behind them"
            )
        return tokens


def _keys(number: int) -> tuple[str, ...]:
    """How keys are written: letters if these do, else k0, k1, .. in brackets."""
    names = letters(number)
    return tuple(f"<k{name[1:]}" for name in names) if names[0] == "<0>" else names

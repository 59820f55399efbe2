"""Generates with a model trained on tokens: continues a prompt as a text, or answers a question.

python -m scripts.generate --workdir=runs/text --prompt="The " --num_tokens=500 --temperature=0.8
python -m scripts.generate --workdir=runs/addition --prompt=-123-900-----

The task says what a prompt, a text and an answer are (`encode`, `text`, `answer` of `BaseTask`).
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from tlstm_jax import runs
from tlstm_jax.generation import generate, read
from tlstm_jax.network import Network
from tlstm_jax.runs.directory import RunDirectory
from tlstm_jax.runs.own_code import named_in
from tlstm_jax.runs.settings import changed
from tlstm_jax.scripts import cli
from tlstm_jax.scripts.run_flags import code_flags, define_reading_flags, reading_flags
from tlstm_jax.tasks.char_lm import Vocabulary
from tlstm_jax.training import checkpointing
from tlstm_jax.typing import Params, State, Task

WORKDIR = cli.define_path_flag("workdir", None, "Folder of the run.", required=True)
PROMPT = flags.DEFINE_string("prompt", None, "The text to continue or to answer.", required=True)
NUM_TOKENS = flags.DEFINE_integer("num_tokens", 500, "Tokens to generate.", upper_bound=2**20)
TEMPERATURE = flags.DEFINE_float("temperature", 1.0, "Of sampling; 0 takes the likeliest.")
TOP_K = flags.DEFINE_integer("top_k", None, "Sample among the k likeliest only.")
SEED = flags.DEFINE_integer("seed", 0, "Of sampling.", *cli.INT32)
CHECKPOINT = cli.define_checkpoint_flag()
define_reading_flags()


def main() -> int:
    with cli.one_line_errors():
        if not PROMPT.value:
            raise ValueError("prompt is empty; accepted is at least one character")
        directory = RunDirectory(WORKDIR.value)
        task, network = _task_and_network(directory)
        tokens = task.encode(PROMPT.value)
        network.check_causal()
        params, state, _ = checkpointing.restore_params(
            directory.checkpoints, network, step=CHECKPOINT.value
        )
        if task.autoregressive:
            print(PROMPT.value + _continue(task, network, params, state, tokens))
        else:
            answer = _answer(task, network, params, state, tokens)
            print(PROMPT.value)
            print(answer)
    return 0


def _task_and_network(directory: RunDirectory) -> tuple[Task | Vocabulary, Network]:
    """The run's task; if its tokens are bytes, only their vocabulary, as the text may be gone."""
    code = code_flags()
    chosen = changed(directory.read_config(named_in(code)), code)
    vocabulary = directory.read_vocabulary()
    if vocabulary is None:
        run = runs.open(directory, reading_flags())
        return run.task, run.network
    task = Vocabulary(vocabulary)
    sizes = {"input_size": task.input_size, "output_size": task.output_size}
    return task, chosen.make_network(tokens=True, **sizes)


def _continue(
    task: Task | Vocabulary, network: Network, params: Params, state: State, tokens: np.ndarray
) -> str:
    if task.vocabulary is not None and (unknown := np.sum(tokens == len(task.vocabulary))):
        print(f"{unknown} bytes of the prompt are unknown to the model", file=sys.stderr)
    written = generate(
        network,
        params,
        state,
        jnp.asarray(tokens)[:, None],
        NUM_TOKENS.value,
        key=jax.random.key(SEED.value),
        temperature=TEMPERATURE.value,
        top_k=TOP_K.value,
    )
    return task.text(np.asarray(written[:, 0]))


def _answer(task: Task, network: Network, params: Params, state: State, tokens: np.ndarray) -> str:
    key, step = jax.random.key(0), jnp.int32(0)
    batch = jax.eval_shape(lambda data: task.train_batch(data, key, step, 0), task.data)
    if not jnp.issubdtype(batch.targets.dtype, jnp.integer):
        raise ValueError(
            f"task {task.name} answers with numbers; accepted with a prompt are tasks that answer "
            "with tokens or classes"
        )
    trained = batch.inputs.shape[0]
    if trained != len(tokens) and not task.stream:
        print(
            f"the model was trained on {trained} tokens, these are {len(tokens)}", file=sys.stderr
        )
    carry = network.init_token_carry(1, params=params)
    _, logits = read(network, params, state, carry, jnp.asarray(tokens)[:, None])
    return task.answer(tokens, np.argmax(np.asarray(logits)[:, 0], axis=-1))


if __name__ == "__main__":
    cli.run(main)

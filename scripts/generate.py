"""Lets a trained model write: a character model continues a prompt, an algorithmic one answers it.

python -m scripts.generate --workdir=runs/text --prompt="The " --num_tokens=500 --temperature=0.8
python -m scripts.generate --workdir=runs/addition --prompt=-123-900-----
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from tlstm_jax.generation import generate, read
from tlstm_jax.runs.directory import RunDirectory
from tlstm_jax.runs.own_code import named_in
from tlstm_jax.runs.settings import RunSettings, changed
from tlstm_jax.scripts import cli, prompts, run_flags
from tlstm_jax.tasks.catalogue import TASKS
from tlstm_jax.tasks.data import text
from tlstm_jax.tasks.synthetic import Synthetic
from tlstm_jax.training import checkpointing

WORKDIR = cli.define_path_flag("workdir", None, "Folder of the run.", required=True)
PROMPT = flags.DEFINE_string("prompt", None, "What to go on from, or to answer.", required=True)
NUM_TOKENS = flags.DEFINE_integer("num_tokens", 500, "Characters to write.", upper_bound=2**20)
TEMPERATURE = flags.DEFINE_float("temperature", 1.0, "Of sampling; 0 takes the likeliest.")
TOP_K = flags.DEFINE_integer("top_k", None, "Sample among the k likeliest only.")
SEED = flags.DEFINE_integer("seed", 0, "Of sampling.", *cli.INT32)
CHECKPOINT = cli.define_checkpoint_flag()
run_flags.define_code_flags()


def main() -> int:
    with cli.one_line_errors():
        if not PROMPT.value:
            raise ValueError("prompt is empty; accepted is at least one character")
        directory = RunDirectory(WORKDIR.value)
        task = _settings(directory).task
        vocabulary = directory.read_vocabulary()
        if vocabulary is not None:
            _continue(directory, vocabulary)
        elif task in ("addition", "memorization"):
            _answer(directory, task)
        else:
            raise ValueError(
                f"task {task} has nothing to generate; accepted are runs of char_lm, addition and "
                "memorization"
            )
    return 0


def _settings(directory: RunDirectory) -> RunSettings:
    given = run_flags.code_flags()
    return changed(directory.read_config(named_in(given)), given)


def _continue(directory: RunDirectory, vocabulary: tuple[int, ...]) -> None:
    size = len(vocabulary) + 1
    network = _settings(directory).make_network(input_size=size, output_size=size, tokens=True)
    params, state, _ = checkpointing.restore_params(
        directory.checkpoints, network, step=CHECKPOINT.value
    )
    prompt = text.encode(prompts.prompt_bytes(PROMPT.value), vocabulary)
    unknown = int(np.sum(prompt == len(vocabulary)))
    if unknown:
        print(f"{unknown} bytes of the prompt are unknown to the model", file=sys.stderr)
    tokens = generate(
        network,
        params,
        state,
        jnp.asarray(prompt)[:, None],
        NUM_TOKENS.value,
        key=jax.random.key(SEED.value),
        temperature=TEMPERATURE.value,
        top_k=TOP_K.value,
    )
    written = text.decode(np.asarray(tokens[:, 0]), vocabulary)
    print(PROMPT.value + written.decode(errors="replace"))


def _answer(directory: RunDirectory, name: str) -> None:
    chosen = _settings(directory)
    task: Synthetic = TASKS[name](**chosen.task_settings)
    network = chosen.make_network(
        input_size=task.input_size, output_size=task.output_size, tokens=True
    )
    network.check_causal()
    tokens = prompts.parse(PROMPT.value, task)
    asked = prompts.of_length(task, len(tokens))
    if asked != task:
        print(f"the model was trained on size {task.size}, this is {asked.size}", file=sys.stderr)
    prompt = jnp.asarray(tokens)[:, None]
    params, state, _ = checkpointing.restore_params(
        directory.checkpoints, network, step=CHECKPOINT.value
    )
    carry = network.init_token_carry(1, params=params)
    _, logits = read(network, params, state, carry, prompt)
    print(PROMPT.value)
    print(prompts.answer_text(asked, np.argmax(np.asarray(logits)[:, 0], axis=-1)))


if __name__ == "__main__":
    cli.run(main)

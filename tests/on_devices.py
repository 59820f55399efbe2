"""What `test_devices.py` runs in a process of its own, on 8 virtual devices.

Prints a line of JSON for each case: how far a training on several devices is from one on one
device, and which collectives its compiled program has, [kind, whether in a loop over time].
"""

import json
import sys

import jax
import numpy as np

from tlstm_jax import training, zoo
from tlstm_jax.devices import traffic
from tlstm_jax.devices.layout import make_layout
from tlstm_jax.network import task_sizes
from tlstm_jax.tasks.catalogue import TASKS
from tlstm_jax.tasks.char_lm import char_lm
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training import evaluation
from tlstm_jax.training.settings import TrainSettings

SETTINGS = TrainSettings(num_steps=2, eval_every=2, checkpoint_every=2, steps_per_call=2)
SMALL = {"tlstm": {"tensor_shape": (2,), "normalization": "channel"}, "hm_lstm": {"num_layers": 2}}
AROUND = {
    "dropout": {"input_dropout": 0.2, "dropout": 0.3},
    "zoneout": {"zoneout_hidden": 0.2, "zoneout_memory": 0.1},
    "carry": {"learned_carry": True, "carry_scale": 0.1},
    "remat": {"remat_every": 2},
    "layers": {"num_layers": 2, "residual": True},
    "bidirectional": {"bidirectional": True},
}


EVALUATED = ("tlstm", "bn_lstm", "stream_tlstm", "odd")
SHARDED = (
    "tlstm",
    "lstm",
    "stacked_lstm",
    "hyper_lstm",
    "qrnn",
    "stream_tlstm",
    "odd",
)  # kernels, too


def cases():
    """name -> (task, model, settings)."""
    samples = memorization(2, 3, batch_size=8, eval_samples=16, eval_batch_size=16)
    stream = char_lm(sys.argv[1], batch_size=8, segment_length=6, eval_batch_size=8)
    # Of its evaluation's batches 4 is no part.
    odd = memorization(2, 3, batch_size=8, eval_samples=12, eval_batch_size=6)
    found = {
        name: (samples, name, SMALL.get(name, {})) for name, e in zoo.MODELS.items() if not e.axes
    }
    found |= {f"lstm_{k}": (samples, "lstm", settings) for k, settings in AROUND.items()}
    found |= {f"stream_{name}": (stream, name, SMALL.get(name, {})) for name in ("tlstm", "gru")}
    rows = TASKS["rows_digits"](batch_size=8)
    for name in ("conv_lstm", "row_lstm", "md_lstm", "pyramid_lstm"):
        found[f"maps_{name}"] = (rows, name, {})
    return found | {"odd": (odd, "lstm", {})}


def run(task, network, where, *, evaluates):
    """What two steps come to, and the program's collectives."""
    state = training.init_state(network, task, SETTINGS, jax.random.key(3))
    data, found, metrics = task.data, [], {}
    if where is not None:
        state, data = jax.device_put(state, where.shardings(state)), where.put(data)
    compiled = training.train_call.lower(network, task, SETTINGS, state, data, where).compile()
    if where is not None:
        # Outermost is the loop over training steps.
        found = [[c.kind, c.loops > 1] for c in traffic.collectives(compiled.as_text())]
    state, steps = jax.block_until_ready(compiled(state, data))
    if evaluates:
        key, model = training.eval_key(state), (state.params, state.model_state)
        metrics = evaluation.evaluate(
            network, task, *model, data, split="valid", key=key, layout=where
        )
    # Not the parameters: Adam makes steps of full length of rounding errors, where a gradient is
    # zero.
    kept = state.opt_state, state.model_state, state.carry, steps["loss"], metrics
    return [
        np.concatenate([np.ravel(x) for x in jax.tree.leaves(part)] or [[0]]) for part in kept
    ], found


def main():
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_numpy_rank_promotion", "raise")
    for name, (task, model, settings) in cases().items():
        network = zoo.make_network(model, features=4, **task_sizes(task), **settings)
        evaluates = name in EVALUATED
        alone, _ = run(task, network, None, evaluates=evaluates)
        for mesh in ((8, 1), (4, 2))[: 2 if name in SHARDED else 1]:
            spread, collectives = run(task, network, make_layout(*mesh), evaluates=evaluates)
            error = max(
                np.abs(a - b).max() / max(1e-3, np.abs(a).max())
                for a, b in zip(alone, spread, strict=True)
            )
            line = {"name": name, "mesh": mesh, "error": float(error), "collectives": collectives}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()

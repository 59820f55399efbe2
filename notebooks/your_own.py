# %% [markdown]
# # Your own task and your own cell, in twenty lines each
#
# {badge}
#
# A cell is any object with `init`, `init_carry` and `step`; a task names its sizes and draws batches, and inherits the rest
# from `BaseTask`. Both get the training loop, sweeps, checkpoints and wrappers.

# %% tags=["install"]
# Where there is a GPU, a newer JAX needs a newer CUDA plugin; if JAX was imported before, restart the runtime.
import shutil

extras = "train,cuda" if shutil.which("nvidia-smi") else "train"
# %pip install -q "tlstm-jax[{extras}] @ git+{repository}"

# %%
import dataclasses

import jax
import jax.numpy as jnp

from tlstm_jax import GRU, Network, Stacked, TrainSettings, Zoneout, fit, pictures, sweep
from tlstm_jax.tasks import BaseTask
from tlstm_jax.typing import Batch

NUM_STEPS = 400  # small: 10

# %% [markdown]
# ## A cell
#
# An LSTM that has only its forget gate (van der Westhuizen and Lasenby, [The Unreasonable Effectiveness of the Forget
# Gate](https://arxiv.org/abs/1804.04849), 2018): $f_t = \sigma(x_t W_f + h_{t-1} U_f + b_f)$,
# $h_t = f_t \odot h_{t-1} + (1 - f_t) \odot \tanh(x_t W_h + h_{t-1} U_h + b_h)$.


# %%
@dataclasses.dataclass(frozen=True)
class JANET:
    features: int
    delay = 0
    causal = True

    def init(self, key, input_size):
        def kernel(key, rows):
            return {"kernel": jax.random.normal(key, (rows, 2 * M)) / jnp.sqrt(rows)}

        M, (of_input, of_state) = self.features, jax.random.split(key)
        bias = jnp.concatenate([jnp.ones(M), jnp.zeros(M)])  # of the forget gate, and of the rest
        return {
            "input": kernel(of_input, input_size),
            "recurrent": kernel(of_state, M),
            "bias": bias,
        }

    def init_carry(self, batch_size, dtype=jnp.float32):
        return jnp.zeros((batch_size, self.features), dtype)

    def step(self, params, h, x):
        a = x @ params["input"]["kernel"] + h @ params["recurrent"]["kernel"] + params["bias"]
        f, g = jnp.split(a, 2, axis=-1)
        f = jax.nn.sigmoid(f)
        h = f * h + (1 - f) * jnp.tanh(g)
        return h, h

    init_token_carry, token_step = init_carry, step


# %% [markdown]
# ## A task
#
# Which of two numbers was larger, the first or the last of a noisy sequence? Inputs are vectors of size 1, only the
# last output is scored. Batches are drawn from a key, a new one for each step, so that a run can resume anywhere.


# %%
@dataclasses.dataclass(frozen=True)
class FirstOrLast(BaseTask):
    length: int = 30
    batch_size: int = 32
    input_size, output_size, last_only = 1, 2, True
    metric, target = "accuracy", 0.99

    def draw(self, key, batch_size):
        xs = jax.random.normal(key, (self.length, batch_size, 1))
        targets = (xs[-1:, :, 0] > xs[:1, :, 0]).astype(jnp.int32)
        return Batch(xs, targets, mask=jnp.ones_like(targets, bool))


# %% [markdown]
# ## Both together

# %%
task = FirstOrLast()
settings = TrainSettings(
    num_steps=NUM_STEPS, eval_every=10, checkpoint_every=10, learning_rate=1e-2
)
records = []
for report in fit(Network(JANET(32), task.input_size, task.output_size), task, settings):
    records.append(report.record(task.unit))
print(report.valid)
pictures.plot_curves(records, unit=task.unit, metric=task.metric, title="JANET on first or last")

# %% [markdown]
# It stacks, takes wrappers, and is swept like any cell of the zoo.

# %%
model = Stacked(JANET(16), num_layers=2)
for name, body in {
    "two layers of JANET": model,
    "a GRU with zoneout": Zoneout(GRU(32), hidden=0.1),
}.items():
    network = Network(body, task.input_size, task.output_size)
    *_, last = fit(network, task, settings)
    print(f"{name}: {100 * last.valid['accuracy']:.1f} %")

# %%
results = sweep(
    task, JANET(16), {"learning_rate": [1e-3, 3e-3, 1e-2], "seed": range(2)}, settings=settings
)
results.plot()

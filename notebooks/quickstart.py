# %% [markdown]
# # Quickstart: train a tensorized LSTM, and look inside
#
# {badge}
#
# A tensorized LSTM (He et al., [Wider and Deeper, Cheaper and Faster](https://arxiv.org/abs/1711.01577), NIPS 2017)
# learns to repeat five symbols. Everything here is a pure function: parameters, states and keys go in, new ones
# come out.

# %% tags=["install"]
# Where there is a GPU, a newer JAX needs a newer CUDA plugin; if JAX was imported before, restart the runtime.
import shutil

extras = "train,cuda" if shutil.which("nvidia-smi") else "train"
# %pip install -q "tlstm-jax[{extras}] @ git+{repository}"

# %%
import jax
import jax.numpy as jnp

from tlstm_jax import Network, TensorizedLSTM, TrainSettings, inspection, pictures, training
from tlstm_jax.generation import read
from tlstm_jax.tasks.memorization import memorization

NUM_STEPS = 600  # small: 20

# %% [markdown]
# ## The task
#
# `-` is the blank. The network reads five symbols, waits a step, and then has to say them again.

# %%
task = memorization(num_symbols=5, alphabet_size=8, batch_size=15)
batch = task.train_batch((), jax.random.key(0), jnp.int32(0), 0)
print("input ", task.text(batch.inputs[:, 0]))
print("target", task.text(batch.targets[:, 0]))

# %% [markdown]
# ## The network
#
# The hidden state is a tensor of three locations with 60 channels each. The network has the depth 3: what is read
# now is answered two steps later, when it has passed all locations. Tensors can be made larger without another
# parameter.

# %%
cell = TensorizedLSTM(features=60, tensor_shape=(3,), normalization="channel", input_scale=1.0)
network = Network(cell, task.input_size, task.output_size, tokens=True)
params, model_state = network.init(jax.random.key(0))
count = sum(p.size for p in jax.tree.leaves(params))
print(f"{count:,} parameters, delay {network.delay}")
jax.tree.map(jnp.shape, params)

# %% [markdown]
# ## Training
#
# `training.fit` yields a report after every compiled call; one loop for every task and model.

# %%
settings = TrainSettings(
    num_steps=NUM_STEPS, eval_every=20, checkpoint_every=20, learning_rate=3e-3
)
records = []
for report in training.fit(network, task, settings):
    records.append(report.record(task.unit))
state = report.state
print(report.valid)

# %%
pictures.plot_curves(
    records, unit=task.unit, metric=task.metric, title="memorization, 5 of 8 symbols"
)

# %% [markdown]
# ## What it answers
#
# Token by token, as one would use it; the numbers are the same as for sequences at once.

# %%
carry = network.init_token_carry(1, params=state.params)
example = batch.inputs[:, :1]
_, logits = read(network, state.params, state.model_state, carry, example)
answer = jnp.where(
    batch.mask[:, 0], jnp.argmax(logits[:, 0], axis=-1), task.input_size - 1
)  # scored ones
print("input ", task.text(example[:, 0]))
print("answer", task.text(answer))

# %% [markdown]
# ## Looking inside
#
# The memory of every location, in the channels that vary most. Location p works on an input p steps after it was read,
# so its panel is shifted by as many: a column is one input on its way through the tensor.

# %%
labels = list(task.text(example[:, 0]))
trace = inspection.trace(cell, state.params["model"], example)
beside = {
    "delays": range(cell.depth),
    "labels": {"input": labels, "answer": list(task.text(answer))},
}
pictures.plot_states(trace.carry.memory[:, 0], title="memory", **beside)

# %% [markdown]
# The tensorized LSTM convolves its memory with kernels that it computes at every step and location. Here is what they
# do with the symbols: take over what the previous location holds, keep it, or fetch it back.

# %%
kernels = inspection.memory_kernels(cell, state.params["model"], example, trace.carry)
pictures.plot_kernels(kernels[:, 0], title="memory-cell kernels", **beside)

# %% [markdown]
# # The tensorized LSTM, equation by equation
#
# {badge}
#
# He, Gao, Xiao, Liu, He and Barber, [Wider and Deeper, Cheaper and Faster: Tensorized LSTMs for Sequence
# Learning](https://arxiv.org/abs/1711.01577), NIPS 2017. A network is widened without new parameters, since all
# locations of a tensor share them, and deepened without new sequential steps, since depth runs along with time.

# %% tags=["install"]
# Where there is a GPU, a newer JAX needs a newer CUDA plugin; if JAX was imported before, restart the runtime.
import shutil

extras = "train,cuda" if shutil.which("nvidia-smi") else "train"
# %pip install -q "tlstm-jax[{extras}] @ git+{repository}"

# %%
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import pyplot as plt

from tlstm_jax import (
    LSTM,
    Network,
    Stacked,
    TensorizedLSTM,
    TrainSettings,
    inspection,
    pictures,
    training,
    unroll,
)
from tlstm_jax.cells.tensorized import convolution
from tlstm_jax.tasks.images import digits
from tlstm_jax.tasks.memorization import memorization

MEMORIZATION_STEPS = 500  # small: 10
DIGITS_STEPS = 300  # small: 10

# %% [markdown]
# ## One step
#
# The hidden state is a tensor $\mathcal{H}_{t-1}\in\mathbb{R}^{P\times M}$ of $P$ locations with $M$ channels. The
# projected input is put in front of it, at a new corner,
#
# $$\mathcal{H}^{cat}_{t-1} = [\,x_t W^x + b^x;\ \mathcal{H}_{t-1}\,],$$
#
# and a cross-layer convolution gives gates and, for each location, a kernel of its own:
#
# $$[\mathcal{A}^g, \mathcal{A}^i, \mathcal{A}^f, \mathcal{A}^o, \mathcal{A}^q] = \mathcal{H}^{cat}_{t-1} * W^h + b^h.$$

# %%
M, P, K, I = 5, 3, 3, 4
cell = TensorizedLSTM(features=M, tensor_shape=(P,), kernel_size=K)
params = cell.init(jax.random.key(0), input_shape=I)
H, C, x = (
    jax.random.normal(key, shape)
    for key, shape in zip(jax.random.split(jax.random.key(1), 3), ((1, P, M), (1, P, M), (1, I)))
)

projected = x @ params["input"]["kernel"] + params["input"]["bias"]
H_cat = jnp.concatenate([projected[:, None], H], axis=1)  # [1, P + 1, M]
W, b = params["cross_layer"]["kernel"], params["cross_layer"]["bias"]  # [K, M, 4M + K], [4M + K]

padded = jnp.pad(H_cat, ((0, 0), (0, K // 2), (0, 0)))
A = sum(padded[:, k : k + P] @ W[k] for k in range(K)) + b  # location p reads p - 1, p, p + 1
g, i, f, o, q = jnp.split(A, [M, 2 * M, 3 * M, 4 * M], axis=-1)

# %% [markdown]
# Each location's kernel is a softmax, which mixes the memory of its neighbours, border values repeated,
#
# $$\mathcal{Q} = \mathrm{softmax}(\mathcal{A}^q),\qquad
# \mathcal{C}^{conv}_{t-1}(p) = \sum_k \mathcal{Q}(p)_k\,\mathcal{C}_{t-1}(p - 1 + k),$$
#
# and the rest is an LSTM:
#
# $$\mathcal{C}_t = \tanh(\mathcal{A}^g)\odot\sigma(\mathcal{A}^i) + \mathcal{C}^{conv}_{t-1}\odot\sigma(\mathcal{A}^f),
# \qquad \mathcal{H}_t = \tanh(\mathcal{C}_t)\odot\sigma(\mathcal{A}^o).$$

# %%
Q = jax.nn.softmax(q)
borders = jnp.pad(C, ((0, 0), (K // 2, K // 2), (0, 0)), mode="edge")
C_conv = sum(Q[..., k, None] * borders[:, k : k + P] for k in range(K))
C_new = jnp.tanh(g) * jax.nn.sigmoid(i) + C_conv * jax.nn.sigmoid(f)
H_new = jnp.tanh(C_new) * jax.nn.sigmoid(o)

carry = cell.init_carry(1)._replace(hidden=H, memory=C, age=jnp.full((1,), P, jnp.int32))
carry, y = cell.step(params, carry, x)
print(
    "the same as cell.step:",
    np.allclose(C_new, carry.memory, atol=1e-6),
    np.allclose(H_new, carry.hidden, atol=1e-6),
)
print("the output is the last location:", np.allclose(y, H_new[:, -1], atol=1e-6))

# %% [markdown]
# ## The wave
#
# An input needs $L = P$ steps from corner to corner, while the next ones follow. In every step all locations work,
# each on another input: depth takes no sequential steps of its own, and the output comes $L - 1$ steps late.

# %%
pictures.plot_wave(convolution.wave_index((4,), 3), steps=6)

# %% [markdown]
# In a tensor with two axes the wave runs along the diagonal.

# %%
pictures.plot_wave(convolution.wave_index((3, 3), 3), steps=5)

# %% [markdown]
# `unroll` feeds $L - 1$ zero inputs behind the last one, and gives outputs in the order of their inputs.

# %%
carry, ys = unroll(
    cell, params, cell.init_carry(1), jax.random.normal(jax.random.key(2), (10, 1, I))
)
print("delay", cell.delay, "outputs", ys.shape)

# %% [markdown]
# Without feedback (kernel size 2) and without memory-cell convolution, the network *is* a stacked LSTM whose layers
# share their weights; it only computes them along the diagonal.

# %%
diagonal = TensorizedLSTM(features=M, tensor_shape=(P,), kernel_size=2, memory_convolution=False)
theirs = diagonal.init(jax.random.key(3), input_shape=I)
stacked = Stacked(LSTM(M), P, shared=True)
(ours, _), kernel = stacked.init(jax.random.key(4), I), theirs["cross_layer"]["kernel"]


def reorder(gates):
    """From g, i, f, o to the LSTM's i, f, g, o."""
    g, i, f, o = jnp.split(gates, 4, axis=-1)
    return jnp.concatenate([i, f, g, o], axis=-1)


print("the stacked LSTM's parameters:", jax.tree.map(jnp.shape, ours))

# %%
xs = jax.random.normal(jax.random.key(5), (10, 2, I))
ours = {
    "input": theirs["input"],
    "layer": {
        "input": {"kernel": reorder(kernel[0])},
        "recurrent": {"kernel": reorder(kernel[1]), "bias": reorder(theirs["cross_layer"]["bias"])},
    },
}
_, of_tensor = unroll(diagonal, theirs, diagonal.init_carry(2), xs)
_, of_stack, *_ = stacked.apply(ours, (), stacked.init_carry(2), xs)
print("the same outputs:", np.allclose(of_tensor, of_stack, atol=1e-5))

# %% [markdown]
# ## What the memory cells do
#
# Trained on memorization, and then shown one example: the mean of each location's memory over its channels.

# %%
task = memorization(num_symbols=6, alphabet_size=8, batch_size=15)
cell = TensorizedLSTM(features=50, tensor_shape=(4,), normalization="channel", input_scale=1.0)
network = Network(cell, task.input_size, task.output_size, tokens=True)
settings = TrainSettings(
    num_steps=MEMORIZATION_STEPS, learning_rate=3e-3, eval_every=10, checkpoint_every=10
)
*_, last = training.fit(network, task, settings)
print(last.valid)

# %%
example = task.eval_batch((), jax.random.key(0), "test", jnp.int32(0), 0).inputs[:, :1]
labels = list(task.text(example[:, 0]))
trace = inspection.trace(cell, last.state.params["model"], example)
beside = {
    "delays": range(cell.depth),
    "labels": labels,
}  # location p works on an input p steps later
pictures.plot_states(trace.carry.memory[:, 0], title="memory", **beside)

# %% [markdown]
# And the kernels that did this: while symbols are read, memory moves on from location to location; while they wait,
# each location keeps its own.

# %%
kernels = inspection.memory_kernels(cell, last.state.params["model"], example, trace.carry)
pictures.plot_kernels(kernels[:, 0], title="memory-cell kernels", **beside)

# %% [markdown]
# ## The same on an image
#
# A digit is read pixel by pixel, row after row; the class is read out behind the last pixel. The memory is drawn as it
# was at each pixel.

# %%
task = digits(batch_size=50, eval_batch_size=200)
cell = TensorizedLSTM(features=40, tensor_shape=(3,), normalization="channel", forget_bias=4.0)
network = Network(cell, task.input_size, task.output_size)
settings = TrainSettings(
    num_steps=DIGITS_STEPS, learning_rate=3e-3, eval_every=10, checkpoint_every=10
)
*_, last = training.fit(network, task, settings)
print(last.valid)

# %%
batch = task.eval_batch(task.data, jax.random.key(0), "test", jnp.int32(0), 0)
image = np.asarray(batch.inputs[:, 0, 0]).reshape(8, 8)
trace = inspection.trace(cell, last.state.params["model"], batch.inputs[:, :1])
memory = np.asarray(trace.carry.memory[:, 0]).mean(axis=-1)  # [T + delay, P]
figure, axes = plt.subplots(1, 4, figsize=(9, 2.6), layout="constrained")
axes[0].imshow(image, cmap="gray_r")
axes[0].set_title(f"the input, a {int(batch.targets[0, 0])}", fontsize=9)
for p, axis in enumerate(axes[1:]):
    axis.imshow(memory[p : p + 64, p].reshape(8, 8), cmap="viridis")  # p works p steps later
    axis.set_title(f"memory of location {p}", fontsize=9)
for axis in axes:
    axis.axis("off")

# %% [markdown]
# # A sweep over hyperparameters and seeds
#
# {badge}
#
# Runs that differ only in seeds and floats are trained as one: the same compiled step, vmapped over the members. Each
# is the run that it would be alone.

# %% tags=["install"]
# Where there is a GPU, a newer JAX needs a newer CUDA plugin; if JAX was imported before, restart the runtime.
import shutil

extras = "train,cuda" if shutil.which("nvidia-smi") else "train"
# %pip install -q "tlstm-jax[{extras}] @ git+{repository}"

# %%
import numpy as np

from tlstm_jax import TrainSettings, sweep
from tlstm_jax.sweeps import Halving, LogUniform
from tlstm_jax.tasks.memorization import memorization

NUM_STEPS = 240  # small: 20

task = memorization(num_symbols=4, alphabet_size=8, batch_size=15)
settings = TrainSettings(num_steps=NUM_STEPS, eval_every=20, checkpoint_every=20)

# %% [markdown]
# ## A grid

# %%
results = sweep(
    task,
    "lstm",
    {"learning_rate": [1e-3, 3e-3, 1e-2, 3e-2], "seed": range(3)},
    settings=settings,
    model_settings={"features": 40},
)
results.plot()

# %% [markdown]
# Arrays, for your own pictures and tables: mean and spread over the seeds.

# %%
rates = results.values("learning_rate")
for rate in np.unique(rates):
    best = results.best_metric[rates == rate]
    print(f"learning rate {rate:g}: {100 * best.mean():.1f} ± {100 * best.std():.1f} %")
print("the best:", results.points[results.best])

# %% [markdown]
# ## Settings that change shapes, and the model itself
#
# Each value is a group of its own, compiled and trained after the previous one.

# %%
results = sweep(
    task,
    "gru",
    {"model": ["gru", "elman"], "features": [20, 40], "learning_rate": [3e-3, 1e-2]},
    settings=settings,
)
results.plot()

# %% [markdown]
# ## Random search with successive halving
#
# Twelve points are drawn; only the better half continues at every rung.

# %%
results = sweep(
    task,
    "lstm",
    {
        "learning_rate": LogUniform(3e-4, 1e-1),
        "forget_bias": [0.0, 1.0, 2.0],
        "clip_norm": [0.3, 1.0, 3.0],
    },
    settings=settings,
    model_settings={"features": 40},
    samples=12,
    halving=Halving(factor=2, min_steps=20),
)
for point, metric, stop in zip(results.points, results.best_metric, results.stop):
    print(
        f"{metric:.3f}  {stop:28s}  learning rate {point['learning_rate']:.2g}, forget bias {point['forget_bias']:g}"
    )

# %%
results.plot()

# %% [markdown]
# The parameters of the best member at its best evaluation are there to be used.

# %%
count = sum(p.size for p in results.params["model"].values() for p in p.values())
print(f"{results.network.model}\n{count:,} parameters of the cell")

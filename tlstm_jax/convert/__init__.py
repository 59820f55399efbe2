"""Weights in and out: of torch's recurrent modules, Flax's cells, and packages of newer models.

The functions work on mappings of names to arrays and import neither torch nor Flax. What they
return shares no memory with what they were given.

    params = from_torch("lstm", {k: v.numpy() for k, v in module.state_dict().items()})
    module.load_state_dict({k: torch.from_numpy(v) for k, v in to_torch("lstm", params).items()})

    params = from_flax("linen.LSTMCell", variables["params"])
    nnx.update(cell, to_flax("nnx.LSTMCell", params))

    model, params = from_mambapy({k: v.numpy() for k, v in block.state_dict().items()})
    model, params = from_mambapy(load_safetensors("model.safetensors", "backbone.layers.0.mixer."))

Activations are not converted: the peers must have their default ones. A layer of a package consists
of more than our model, or of less: `from_mambapy`, `from_recurrentgemma` and `from_xlstm` return a
model of ours with parameters that compute the same, and tell of which part. A linear map that only
our model has is the identity.
"""

from tlstm_jax.convert.mambapy import from_mambapy
from tlstm_jax.convert.recurrentgemma import from_recurrentgemma
from tlstm_jax.convert.safetensors import load_safetensors
from tlstm_jax.convert.torch_flax import FLAX as FLAX
from tlstm_jax.convert.torch_flax import from_flax, from_torch, to_flax, to_torch
from tlstm_jax.convert.xlstm import from_xlstm

__all__ = [
    "from_flax",
    "from_mambapy",
    "from_recurrentgemma",
    "from_torch",
    "from_xlstm",
    "load_safetensors",
    "to_flax",
    "to_torch",
]

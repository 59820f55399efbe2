"""How arrays are sharded, how each kind of device computes, and what compiled programs do."""

from tlstm_jax.devices.layout import Layout, make_layout

__all__ = ["Layout", "make_layout"]

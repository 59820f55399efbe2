"""Where arrays lie, what is computed how on which kind of device, and what compiled programs do."""

from tlstm_jax.devices.layout import Layout, make_layout

__all__ = ["Layout", "make_layout"]

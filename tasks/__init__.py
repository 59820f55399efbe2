"""Tasks: batches, loss mask, metrics and sizes behind one protocol (`tlstm_jax.typing.Task`)."""

"""How the arrays of a training are sharded over several devices.

The machinery is JAX's own: one program for all devices (`jax.jit`), and a `NamedSharding` for every
array. A batch is sharded along its examples and, on request, kernels along their incoming channels;
everything else is replicated. Except for the order of sums, results do not depend on the layout:
batches and masks follow from the run's key and the step alone.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from tlstm_jax.typing import Batch, PyTree

BATCH, CHANNELS = "batch", "channels"  # the axes of a mesh
_AXES_OF_B = Batch(inputs=1, targets=1, mask=1, lengths=0, restart=0)


@dataclasses.dataclass(frozen=True)
class Layout:
    """A layout over a mesh of devices; see `make_layout`.

    Attributes:
      mesh: with the axes "batch" and "channels".
    """

    mesh: Mesh

    @property
    def replicated(self) -> NamedSharding:
        """The sharding of arrays that are replicated on every device."""
        return self._sharding()

    def put(self, tree: PyTree) -> PyTree:
        """Replicates arrays, which are the same in every process, on every device.

        Raises:
          ValueError: they differ between processes.
        """

        def put(x: Any) -> jax.Array:
            if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):  # as integers, since keys cannot
                return jax.random.wrap_key_data(
                    put(jax.random.key_data(x)), impl=jax.random.key_impl(x)
                )
            return jax.device_put(x, self.replicated)

        try:
            return jax.tree.map(put, tree)
        except AssertionError as e:  # JAX compares them
            raise ValueError(
                f"arrays differ between processes; accepted are equal arrays: {e}"
            ) from e

    def check(self, batch_size: int) -> None:
        """Raises ValueError unless training batches can be sharded evenly."""
        shards = self.mesh.shape[BATCH]
        if batch_size % shards:
            raise ValueError(
                f"batch_size is {batch_size}; accepted with {shards} devices along the batch are "
                f"multiples of {shards}"
            )

    def shard(self, batch: Batch) -> Batch:
        """Within a compiled program: a batch, sharded along its examples if these divide evenly."""

        def place(x: jax.Array | None, axis: int) -> jax.Array | None:
            if x is None or x.shape[axis] % self.mesh.shape[BATCH]:
                return x
            return jax.lax.with_sharding_constraint(x, self._sharding(*[None] * axis, BATCH))

        return Batch(*map(place, batch, _AXES_OF_B))

    def shardings(self, state: PyTree) -> PyTree:
        """The sharding of each array of a `training.TrainState`, or of what has its shapes."""
        return jax.tree_util.tree_map_with_path(self._sharding_of, state)

    def constrain(self, state: PyTree) -> PyTree:
        """Within a compiled program: a TrainState, its arrays sharded as `shardings` says."""
        return jax.tree.map(jax.lax.with_sharding_constraint, state, self.shardings(state))

    def gather(self, tree: PyTree) -> PyTree:
        """Within a compiled program: arrays, replicated on every device."""
        return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, self.replicated), tree)

    def _sharding(self, *axes: str | None) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(*axes))

    def _sharding_of(self, path: Sequence[Any], x: Any) -> NamedSharding:
        names = [getattr(key, "name", getattr(key, "key", None)) for key in path]
        if names[0] == "carry" and x.ndim and x.shape[0] % self.mesh.shape[BATCH] == 0:
            return self._sharding(BATCH)
        if names[-1] == "kernel" and x.ndim > 1 and x.shape[-2] % self.mesh.shape[CHANNELS] == 0:
            return self._sharding(*[None] * (x.ndim - 2), CHANNELS)
        return self.replicated


def make_layout(batch: int, channels: int = 1, *, devices: Sequence[Any] | None = None) -> Layout:
    """The layout over the first batch * channels devices; with several processes, over all devices.

    Args:
      batch: the number of shards of a batch.
      channels: the number of shards of a kernel, along its incoming channels.
      devices: all that JAX finds if None.

    Raises:
      ValueError: there are fewer devices, or, with several processes, more.
    """
    devices = jax.devices() if devices is None else devices
    number, several = batch * channels, jax.process_count() > 1
    fits = number == len(devices) if several else number <= len(devices)
    if min(batch, channels) < 1 or not fits:
        most = (
            f"of {len(devices)}, all devices" if several else f"of at most {len(devices)} devices"
        )
        raise ValueError(
            f"mesh is {batch},{channels}; accepted are sizes >= 1 with a product {most}"
        )
    # In an order that suits their interconnect.
    mesh = jax.make_mesh(
        (batch, channels), (BATCH, CHANNELS), (AxisType.Auto,) * 2, devices=devices[:number]
    )
    return Layout(mesh)


def tracing(layout: Layout | None) -> contextlib.AbstractContextManager[Any]:
    """A context in which programs are traced for the devices of `layout`; None: for one device."""
    if layout is None:
        return contextlib.nullcontext()
    return jax.sharding.use_abstract_mesh(layout.mesh.abstract_mesh)


def is_partitioned() -> bool:
    """Whether this is traced for the devices of a Layout, rather than a mesh of the user's own."""
    return _mesh().axis_names == (BATCH, CHANNELS)


def num_shards(batch_size: int) -> int:
    """The number of shards of a batch in the program that is being traced."""
    shards = _mesh().shape[BATCH] if is_partitioned() else 1
    return shards if batch_size % shards == 0 else 1


def copy_to_shards(tree: PyTree, number: int) -> PyTree:
    """Arrays [..] as [number, ..]: a copy for each shard of a batch, on that shard's devices."""

    def repeat(x: jax.Array) -> jax.Array:
        x = jnp.broadcast_to(x, (number, *x.shape))
        return jax.lax.with_sharding_constraint(x, PartitionSpec(BATCH))

    return jax.tree.map(repeat, tree)


def replicate(tree: PyTree) -> PyTree:
    """Arrays of one shard of a batch, replicated along the mesh's other axis.

    XLA would shard a state along its channels, as it does the kernel, and exchange pieces of gates.
    """
    if not is_partitioned():
        return tree
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, PartitionSpec()), tree)


def is_sharded(x: jax.Array) -> bool:
    """Whether an array is sharded, by a Layout or on a mesh with explicit axes."""
    return is_partitioned() or any(axis is not None for axis in jax.typeof(x).sharding.spec)


def on_any_mesh(apply: Callable[..., Any]) -> Callable[..., Any]:
    """A model's `apply` that also takes arrays on a mesh with explicit axes (`jax.make_mesh`)."""

    @functools.wraps(apply)
    def placed(
        self: Any, params: PyTree, state: PyTree, carry: PyTree, xs: jax.Array, **given: Any
    ) -> Any:
        if (where := explicit_batch((params, state, carry), xs)) is None:
            return apply(self, params, state, carry, xs, **given)
        fixed = {name: given.pop(name) for name, x in list(given.items()) if isinstance(x, bool)}

        def again(params: PyTree, state: PyTree, carry: PyTree, xs: jax.Array, given: Any) -> Any:
            return apply(self, params, state, carry, xs, **fixed, **given)

        mesh, batch = where
        outputs = PartitionSpec(batch), PartitionSpec(None, batch), PartitionSpec(), PartitionSpec()
        return on_explicit_axes(again, mesh, outputs, params, state, carry, xs, given)

    return placed


def explicit_batch(tree: PyTree, xs: jax.Array) -> tuple[Mesh | AbstractMesh, Any] | None:
    """The arrays' mesh with explicit axes and what shards axis 1 of xs; None if there is none."""
    arrays = [x for x in jax.tree.leaves((xs, tree)) if isinstance(x, jax.Array)]
    meshes = (jax.typeof(x).sharding.mesh for x in arrays)
    mesh = next((mesh for mesh in meshes if AxisType.Explicit in mesh.axis_types), None)
    if mesh is None:
        return None
    spec = jax.typeof(xs).sharding.spec if isinstance(xs, jax.Array) else ()
    return mesh, spec[1] if len(spec) > 1 else None


def on_explicit_axes(
    function: Callable[..., Any], mesh: Mesh | AbstractMesh, outputs: PyTree, *args: PyTree
) -> Any:
    """function(*args) with all axes of the mesh left to XLA.

    Args:
      outputs: PartitionSpecs, a prefix of what the function returns.
    """
    is_spec = {"is_leaf": lambda x: isinstance(x, PartitionSpec)}
    shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), outputs, **is_spec)
    return jax.sharding.auto_axes(function, out_sharding=shardings)(*args)


def _mesh() -> AbstractMesh:
    return jax.sharding.get_abstract_mesh()

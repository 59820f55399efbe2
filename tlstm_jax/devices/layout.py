"""Where the arrays of a training lie when it runs on several devices.

The engine is JAX's own: one program over all devices (`jax.jit`), told by `NamedSharding` which part of
each array lies where. A batch is cut along its examples and, where asked for, kernels along their
incoming channels; the rest lies whole on every device. What is computed does not depend on the layout
but for the order of sums: batches and masks follow from the run's key and the step alone.
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
_AXES_OF_B = Batch(inputs=1, targets=1, mask=1, lengths=0, reset=0)


@dataclasses.dataclass(frozen=True)
class Layout:
    """A layout over a mesh of devices; see `make_layout`.

    Attributes:
      mesh: with the axes "batch" and "channels".
    """

    mesh: Mesh

    @property
    def everywhere(self) -> NamedSharding:
        """Of arrays that lie whole on every device."""
        return self._place()

    def put(self, tree: PyTree) -> PyTree:
        """Arrays, the same in every process, whole onto every device.

        Raises:
          ValueError: they are not the same in every process.
        """

        def put(x: Any) -> jax.Array:
            if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):  # as numbers: keys cannot go to others
                return jax.random.wrap_key_data(
                    put(jax.random.key_data(x)), impl=jax.random.key_impl(x)
                )
            return jax.device_put(x, self.everywhere)

        try:
            return jax.tree.map(put, tree)
        except AssertionError as e:  # JAX compares them
            raise ValueError(f"the processes do not hold the same arrays: {e}") from e

    def check(self, batch_size: int) -> None:
        """Raises ValueError unless training batches can be cut evenly."""
        cuts = self.mesh.shape[BATCH]
        if batch_size % cuts:
            raise ValueError(
                f"batch_size is {batch_size}; accepted with {cuts} devices along the batch are "
                f"multiples of {cuts}"
            )

    def cut(self, batch: Batch) -> Batch:
        """Within a compiled program: a batch, cut along its examples where they divide evenly."""

        def place(x: jax.Array | None, axis: int) -> jax.Array | None:
            if x is None or x.shape[axis] % self.mesh.shape[BATCH]:
                return x
            return jax.lax.with_sharding_constraint(x, self._place(*[None] * axis, BATCH))

        return Batch(*map(place, batch, _AXES_OF_B))

    def places(self, state: PyTree) -> PyTree:
        """The sharding of each array of a `training.TrainState`, or of what has its shapes."""
        return jax.tree_util.tree_map_with_path(self._place_of, state)

    def keep(self, state: PyTree) -> PyTree:
        """Within a compiled program: a TrainState, each of its arrays where `places` says."""
        return jax.tree.map(jax.lax.with_sharding_constraint, state, self.places(state))

    def gather(self, tree: PyTree) -> PyTree:
        """Within a compiled program: arrays, whole on every device."""
        return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, self.everywhere), tree)

    def _place(self, *axes: str | None) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(*axes))

    def _place_of(self, path: Sequence[Any], x: Any) -> NamedSharding:
        names = [getattr(key, "name", getattr(key, "key", None)) for key in path]
        if names[0] == "carry" and x.ndim and x.shape[0] % self.mesh.shape[BATCH] == 0:
            return self._place(BATCH)
        if names[-1] == "kernel" and x.ndim > 1 and x.shape[-2] % self.mesh.shape[CHANNELS] == 0:
            return self._place(*[None] * (x.ndim - 2), CHANNELS)
        return self.everywhere


def make_layout(batch: int, channels: int = 1, *, devices: Sequence[Any] | None = None) -> Layout:
    """The layout over the first batch * channels devices; over all of them in a run of several processes.

    Args:
      batch, channels: in how many parts batches, and kernels along their incoming channels, are cut.
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
    # In an order that suits how they are wired.
    mesh = jax.make_mesh(
        (batch, channels), (BATCH, CHANNELS), (AxisType.Auto,) * 2, devices=devices[:number]
    )
    return Layout(mesh)


def tracing(layout: Layout | None) -> contextlib.AbstractContextManager[Any]:
    """What is traced within is for the devices of `layout`; None: for one."""
    if layout is None:
        return contextlib.nullcontext()
    return jax.sharding.use_abstract_mesh(layout.mesh.abstract_mesh)


def is_partitioned() -> bool:
    """Whether what is traced here is for the devices of a Layout; not for a mesh of the user's own."""
    return _mesh().axis_names == (BATCH, CHANNELS)


def parts(batch_size: int) -> int:
    """In how many parts a batch is cut in what is traced here."""
    cuts = _mesh().shape[BATCH] if is_partitioned() else 1
    return cuts if batch_size % cuts == 0 else 1


def copies(tree: PyTree, number: int) -> PyTree:
    """Arrays [..] as [number, ..], one for each part of a batch and where it lies."""

    def repeat(x: jax.Array) -> jax.Array:
        x = jnp.broadcast_to(x, (number, *x.shape))
        return jax.lax.with_sharding_constraint(x, PartitionSpec(BATCH))

    return jax.tree.map(repeat, tree)


def whole(tree: PyTree) -> PyTree:
    """Arrays of one part of a batch, not cut any further.

    XLA would cut a state along its channels, as the kernel is, and move pieces of gates about.
    """
    if not is_partitioned():
        return tree
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, PartitionSpec()), tree)


def is_cut(x: jax.Array) -> bool:
    """Whether an array's axes are cut, by a Layout or by a mesh with explicit axes."""
    return is_partitioned() or any(axis is not None for axis in jax.typeof(x).sharding.spec)


def on_any_mesh(apply: Callable[..., Any]) -> Callable[..., Any]:
    """A model's `apply` that also takes arrays on a mesh with explicit axes, as `jax.make_mesh` makes it."""

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
    """(the mesh with explicit axes that arrays lie on, what cuts axis 1 of xs); None if there is none."""
    arrays = [x for x in jax.tree.leaves((xs, tree)) if isinstance(x, jax.Array)]
    meshes = (jax.typeof(x).sharding.mesh for x in arrays)
    mesh = next((mesh for mesh in meshes if AxisType.Explicit in mesh.axis_types), None)
    if mesh is None:
        return None
    cuts = jax.typeof(xs).sharding.spec if isinstance(xs, jax.Array) else ()
    return mesh, cuts[1] if len(cuts) > 1 else None


def on_explicit_axes(
    function: Callable[..., Any], mesh: Mesh | AbstractMesh, outputs: PyTree, *args: PyTree
) -> Any:
    """function(*args) with all axes of the mesh left to XLA within; `outputs`: PartitionSpecs, a prefix."""
    is_spec = {"is_leaf": lambda x: isinstance(x, PartitionSpec)}
    places = jax.tree.map(lambda spec: NamedSharding(mesh, spec), outputs, **is_spec)
    return jax.sharding.auto_axes(function, out_sharding=places)(*args)


def _mesh() -> AbstractMesh:
    return jax.sharding.get_abstract_mesh()

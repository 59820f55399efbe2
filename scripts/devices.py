"""The flags of a training on several devices or hosts."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from absl import flags

from tlstm_jax.devices.layout import Layout, make_layout
from tlstm_jax.scripts.run_flags import ShapeParser, ShapeSerializer

MESH = flags.DEFINE(
    ShapeParser(),
    "mesh",
    None,
    "Devices to train on: 8 along the batch, or 4,2 along batch and kernels' incoming channels.",
    serializer=ShapeSerializer(),
)
COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "host:port of the first of several processes, or auto: what the cluster (TPU pod, Slurm) says.",
)
NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "The number of processes that train together."
)
PROCESS_ID = flags.DEFINE_integer("process_id", None, "The index of this process, from 0.")

TIMEOUT = flags.DEFINE_integer(
    "coordinator_timeout", 300, "Seconds to wait for all processes.", 1, 86_400
)


def connect() -> None:
    """Connects to the other processes, if there are any; only the first prints.

    Raises:
      ValueError: a flag is missing or out of range, or the processes did not connect.
    """
    address, number, index = COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value
    if address is None and number is None and index is None:
        return
    if address == "auto":
        if number is not None or index is not None:
            raise ValueError(
                "coordinator is auto; accepted is that without --num_processes and --process_id"
            )
        settings = {}
    else:
        _check(address, number, index)
        settings = {"coordinator_address": address, "num_processes": number, "process_id": index}
    try:
        with _waiting(address, number, index, TIMEOUT.value):
            # JAX's own timeout aborts the process with a native stack trace.
            jax.distributed.initialize(**settings, initialization_timeout=2 * TIMEOUT.value + 60)
    except (RuntimeError, ValueError) as e:
        raise ValueError(f"coordinator is {address}; the processes did not meet: {e}") from e
    if jax.process_index() > 0:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, for as long as the program runs


@contextlib.contextmanager
def _waiting(address: str, number: int | None, index: int | None, seconds: float) -> Iterator[None]:
    """Says what it waits for, and ends the program with one line after `seconds`."""
    who = "all processes" if number is None else f"{number} processes"
    me = "this one" if index is None else f"this one, {index},"
    told = f"coordinator is {address}; {me} waits up to {seconds} seconds for {who}\n"
    ended = f"error: coordinator is {address}; {who} did not meet there within {seconds} seconds\n"

    def end() -> None:
        os.write(2, ended.encode())
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    sys.stderr.write(told)
    sys.stderr.flush()
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _check(address: str | None, number: int | None, index: int | None) -> None:
    given = {"coordinator": address, "num_processes": number, "process_id": index}
    if missing := [f"--{name}" for name, value in given.items() if value is None]:
        raise ValueError(
            f"{', '.join(missing)} missing; accepted are --coordinator=host:port, --num_processes "
            "and --process_id together, or --coordinator=auto"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(
            f"coordinator is {address!r}; accepted are auto, or host:port as in node0:1234"
        )
    if number < 1:
        raise ValueError(f"num_processes is {number}; accepted are integers >= 1")
    if not 0 <= index < number:
        raise ValueError(
            f"process_id is {index}; accepted with {number} processes are 0 to {number - 1}"
        )


def layout(found: Sequence[Any] | None = None) -> Layout | None:
    """The layout of --mesh; without it, of all devices of several processes, or None: one device.

    Args:
      found: the devices to choose from; all that JAX finds if None.

    Raises:
      ValueError: there are too few devices for the mesh.
    """
    sizes = MESH.value
    if sizes is None:
        return make_layout(jax.device_count()) if jax.process_count() > 1 else None
    if len(sizes) > 2:
        raise ValueError(f"mesh is {','.join(map(str, sizes))}; accepted are one or two sizes")
    return make_layout(*sizes, devices=found)

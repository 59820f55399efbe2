"""Reports a training step's memory per device, communication between devices, and compile time.

python -m scripts.footprint --preset=char_lm/paper-3d-l6 --mesh=8
python -m scripts.footprint --preset=char_lm/paper-3d-l6 --mesh=2,4 --remat_every=10
python -m scripts.footprint --preset=memorization/2d-l4 --target=h100
python -m scripts.footprint --preset=memorization/2d-l4 --batch_size=16 --target=v5e:2x2 --mesh=4

Compiles one training step and runs nothing. Without --target it is compiled for as many virtual CPU
devices, so that a laptop can tell what a pod will need; other devices' compilers fuse and lay out
differently, so their temporaries may be a little more or less.

With --target it is compiled for a GPU or a TPU, which need not be there, by its own compiler. Then
the output also tells what an iteration of each loop does, above all of the loops over time, forward
and backward, and how many time steps it is (on a GPU several may be one iteration): kernels (all
that runs on the device), launches (a CUDA graph, or a kernel outside of one), copies, products (the
compiler's kernels with a matrix product or a convolution) and calls of libraries (cuDNN, cuBLAS). A
loop within another is indented, and not counted in it; a loop's condition is not counted. A TPU's
operations are counted as in its program, without scalars; it has no launches.

XLA_FLAGS in the environment reach the compiler. Without a device it cannot choose products by
timing them: it uses its own where it has one.
"""

import dataclasses
import functools
import math
import time
from typing import Any

import jax
from absl import flags
from jax.sharding import SingleDeviceSharding

from tlstm_jax import training
from tlstm_jax.devices import targets
from tlstm_jax.devices.loops import Loop
from tlstm_jax.devices.traffic import collectives, summary
from tlstm_jax.runs import settings
from tlstm_jax.scripts import cli, devices, run_flags
from tlstm_jax.zoo.presets import PRESETS

for module in (settings, devices):
    flags.adopt_module_key_flags(module)  # so that --help shows them
PRESET = flags.DEFINE_string("preset", None, f"Named settings: {', '.join(PRESETS)}.")
TARGET = flags.DEFINE_string(
    "target", None, f"Compile for this device in place of the CPU: {targets.ACCEPTED}."
)
RUN_FLAGS = run_flags.define_run_flags()
MOST = 4096  # virtual devices
MOST_STEPS = 8  # that may be one iteration of a loop
COLUMNS = ("iterations", "time steps", "kernels", "launches", "copies", "products", "library calls")


def main() -> int:
    with cli.one_line_errors():
        target = TARGET.value
        number = math.prod(devices.MESH.value or (1,))
        found = None if target is None else targets.devices(target, number)
        chosen = settings.resolve(run_flags.given_flags(RUN_FLAGS), PRESET.value)
        task, network, train = chosen.make()
        train = dataclasses.replace(
            train, num_steps=1, eval_every=1, checkpoint_every=1, steps_per_call=1, warmup_steps=0
        )
        layout = devices.layout(found)
        if layout is not None:
            layout.check(task.batch_size)
        state = training.abstract_state(network, task, train, layout)
        place = None if layout is None else layout.replicated
        if found is not None and layout is None:
            place = SingleDeviceSharding(found[0])
            state = jax.tree.map(functools.partial(_abstract, place=place), state)
        data = jax.tree.map(functools.partial(_abstract, place=place), task.data)
        begin = time.perf_counter()
        lowered = training.train_call.lower(network, task, train, state, data, layout)
        traced = time.perf_counter()
        program, loops = (
            (lowered.compile(), []) if target is None else targets.compile_for(target, lowered)
        )
        compiled = time.perf_counter()
        memory = program.memory_analysis()
        params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        lines = [
            ("parameters", f"{params:,}"),
            ("devices", f"{number}"),
            ("arguments, on each: state and data", _megabytes(memory.argument_size_in_bytes)),
            ("temporaries, on each", _megabytes(memory.temp_size_in_bytes)),
            ("tracing and lowering", f"{traced - begin:.1f} s"),
            ("compiling", f"{compiled - traced:.1f} s"),
        ]
        lines += [
            (f"{kind}, {times:,} times", _megabytes(sent))
            for kind, times, sent in summary(collectives(program.as_text()))
        ]
        for name, value in lines:
            print(f"{name:<40} {value:>16}")
        if loops:
            batch = jax.eval_shape(
                lambda data: task.train_batch(data, jax.random.key(0), 0, network.delay), task.data
            )
            print(table(loops, batch.inputs.shape[0]))
        return 0
    return 1


def table(loops: list[Loop], T: int) -> str:
    """What an iteration of each loop does, one loop a line; T time steps are in a batch."""
    rows = [("an iteration", *COLUMNS)]
    for loop in loops:
        name = "outside of loops" if loop.direction == "outside" else loop.direction
        over_time = loop.direction in ("forward", "backward") and loop.times
        # Loops that flush a delay are short, and never several steps an iteration.
        unrolled = over_time and T % loop.times == 0 and loop.times * MOST_STEPS >= T
        each = (T // loop.times if unrolled else 1) if over_time else None
        own = (getattr(loop, column.replace(" ", "_")) for column in COLUMNS[2:])
        counts = (loop.times, each, *own)
        rows.append(("  " * loop.depth + name, *("-" if n is None else f"{n:,}" for n in counts)))
    widths = [max(len(column), 7) for column in COLUMNS]
    return "\n".join(
        f"{name:<20}" + "".join(f"  {n:>{w}}" for n, w in zip(cells, widths, strict=True))
        for name, *cells in rows
    )


def _abstract(x: Any, place: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f} MB"


def _pretend() -> None:
    """Makes JAX have as many CPU devices as the mesh needs, unless there is a target."""
    number = math.prod(devices.MESH.value or (1,))
    if not 1 <= number <= MOST:
        raise ValueError(f"mesh has {number} devices; accepted are 1 to {MOST}")
    jax.config.update("jax_platforms", "cpu")
    if TARGET.value is None:
        jax.config.update("jax_num_cpu_devices", number)
    else:
        targets.check(TARGET.value)
        jax.config.update("jax_enable_compilation_cache", False)


if __name__ == "__main__":
    cli.run(main, connect=_pretend)

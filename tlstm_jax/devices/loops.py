"""What one step of each loop of a compiled program does, read from the compiler's output.

For a GPU this is the sequence of thunks that XLA runs ("thunk_sequence_after_thunk_passes" of its
dump) and the names of their instructions ("thunk_metadata"); for a TPU the program's text alone.
"""

import collections
import dataclasses
import re
from collections.abc import Iterator

from tlstm_jax.devices.traffic import BODY, TRIPS, computations, entry

_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (.*?)\s([a-z][\w\-]*)\((.*)$", re.M)
_NAME = re.compile(r"[\w.\-]+")
_CONDITION = re.compile(r"\bcondition=%?([\w.\-]+)")
_CALLED = re.compile(r"\b(?:calls|to_apply|\w+_computations?)=(%?[\w.\-]+|\{[^}]*\})")
_LESS = re.compile(r"\scompare\([^)]*?%([\w.\-]+)\), direction=LT")
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_TARGET = re.compile(r'custom_call_target="([^"]*)"')
_SCALAR = re.compile(r"\w+\[\]")
_THUNK = re.compile(r"^( *)(\d+): k(\w+)")
_NAMED = re.compile(r'profile_annotation: "([^"]*)"\s*thunk_id: (\d+)')

# Thunks that run nothing themselves, that copy, and that are the compiler's; others are libraries'.
_FRAMES = {"AsyncStart", "CommandBuffer", "Conditional", "DynamicSliceFusion", "Sequential"}
_COPIES = {"Copy", "DeviceToDeviceCopy"}
_KERNELS = {"CustomKernel", "Kernel", "Memset32BitValue", "Memzero"}
# Instructions for which a TPU runs nothing.
_FREE = {"after-all", "bitcast", "constant", "get-tuple-element", "parameter", "tuple"}


@dataclasses.dataclass(frozen=True)
class Loop:
    """What one step of a loop does, inner loops not counted.

    Attributes:
      direction: "forward" or "backward" where it is differentiated; "other" where it is not;
        "outside" for what is in no loop.
      steps: of one run of the loop; None where the program does not tell.
      times: its steps in one call of the program, over all runs.
      depth: the number of loops around it.
      kernels: all that runs on the device, including copies and library calls.
      launches: command buffers (CUDA graphs), and kernels outside of them; None for a TPU.
      copies: of device memory, without those that are kernels of the compiler.
      products: kernels of the compiler that contain a matrix product or a convolution.
      library_calls: such as cuDNN's convolutions and cuBLAS's products; for a TPU, custom calls.
    """

    direction: str
    steps: int | None
    times: int | None
    depth: int
    kernels: int = 0
    launches: int | None = 0
    copies: int = 0
    products: int = 0
    library_calls: int = 0


def main_loops(found: list[Loop]) -> dict[str, Loop]:
    """For each direction the loop with the most steps in a call, and then the most kernels."""
    main: dict[str, Loop] = {}
    for loop in sorted(found, key=lambda loop: (loop.times or 0, loop.kernels)):
        main[loop.direction] = loop
    return main


def of_text(text: str) -> list[Loop]:
    """The loops of a TPU's program: first what is in no loop, then each loop before its inner ones.

    Args:
      text: `jax.stages.Compiled.as_text()`.
    """
    program = _Program(text)
    return [
        dataclasses.replace(loop, launches=None, **_count(program, body))
        for body, loop in program.loops()
    ]


def _count(program: "_Program", body: str) -> dict[str, int]:
    count = collections.Counter()
    for name, shape, kind, _ in program.instructions(body):
        # Asynchronous operations are counted where they start; scalars belong to the control flow.
        if kind in _FREE or kind == "while" or kind.endswith("-done") or _SCALAR.match(shape):
            continue
        if program.target(name) == "AllocateBuffer":
            continue
        count["kernels"] += 1
        count["copies"] += kind in ("copy", "copy-start")
        count["products"] += program.is_product(name)
        count["library_calls"] += kind == "custom-call"
    return count


def of_thunks(sequence: str, names: str, text: str) -> list[Loop]:
    """The loops of a GPU's program, in the order of `of_text`.

    Args:
      sequence: the thunks after all passes, one a line, indented by nesting.
      names: the dump's thunk_metadata, which maps thunks to instructions of the text.
      text: of the compiled program.

    Raises:
      ValueError: a thunk is a loop that is not in the text.
    """
    program = _Program(text)
    instruction = {int(number): name for name, number in _NAMED.findall(names)}
    loops = dict(program.loops())
    counts = {body: collections.Counter() for body in loops}
    around = [(-1, "", program.entry)]  # (indentation, kind, body) of all that encloses a line
    in_condition = False
    for line in sequence.splitlines():
        if line.strip() in ("condition:", "body:"):
            in_condition = line.strip() == "condition:"
        match = _THUNK.match(line)
        if in_condition or match is None:
            continue
        indentation, number, kind = len(match[1]), int(match[2]), match[3]
        while around[-1][0] >= indentation:
            around.pop()
        body = around[-1][2]
        captured = any(kind == "CommandBuffer" for _, kind, _ in around)
        name = instruction.get(number, "")
        if kind == "While":
            inner = program.body(name)
            if inner not in loops:
                raise ValueError(f"thunk {number} is {name!r}; accepted are loops of the program")
            around.append((indentation, kind, inner))
            continue
        around.append((indentation, kind, body))
        runs = kind not in _FRAMES and not kind.endswith("Done")
        counts[body]["kernels"] += runs
        counts[body]["launches"] += not captured and (runs or kind == "CommandBuffer")
        counts[body]["copies"] += kind in _COPIES
        counts[body]["products"] += kind in _KERNELS and program.is_product(name)
        counts[body]["library_calls"] += runs and kind not in {*_COPIES, *_KERNELS}
    return [dataclasses.replace(loop, **counts[body]) for body, loop in loops.items()]


class _Program:
    """A compiled program's text, by computation and instruction."""

    def __init__(self, text: str) -> None:
        self.entry = entry(text)
        self._bodies = {
            name: _INSTRUCTION.findall(body) for name, body in computations(text).items()
        }
        self._lines = {i[0]: i for body in self._bodies.values() for i in body}

    def instructions(self, computation: str) -> list[tuple[str, str, str, str]]:
        """(name, shape, kind, what follows the opening bracket) of each."""
        return self._bodies[computation]

    def body(self, name: str) -> str | None:
        """Of a loop."""
        found = BODY.search(self._lines[name][3]) if name in self._lines else None
        return found and found[1]

    def target(self, name: str) -> str | None:
        """Of a custom call."""
        found = _TARGET.search(self._lines[name][3])
        return found and found[1]

    def is_product(self, name: str) -> bool:
        """Whether an instruction, or what it calls, multiplies matrices or convolves."""
        if name not in self._lines:
            return False
        *_, kind, rest = self._lines[name]
        return kind in ("dot", "convolution") or any(
            self.is_product(inner)
            for called in self._called(rest)
            for inner, *_ in self._bodies[called]
        )

    def loops(self) -> Iterator[tuple[str, Loop]]:
        """(body, loop without counts) of what is in no loop, and of every loop."""
        yield self.entry, Loop("outside", 1, 1, 0)
        yield from self._loops(self.entry, 1, 0)

    def _loops(self, computation: str, times: int | None, depth: int) -> Iterator[tuple[str, Loop]]:
        for _, _, kind, rest in self._bodies[computation]:
            if kind == "while":
                body, steps = BODY.search(rest)[1], self._steps(rest)
                total = None if None in (times, steps) else times * steps
                yield body, Loop(_direction(rest), steps, total, depth)
                yield from self._loops(body, total, depth + 1)
            elif kind != "fusion":
                for called in self._called(rest):
                    yield from self._loops(called, times, depth)

    def _called(self, rest: str) -> list[str]:
        """The computations that an instruction names, other than a loop's."""
        found = (name for names in _CALLED.findall(rest) for name in _NAME.findall(names))
        return [name for name in found if name in self._bodies]

    def _steps(self, rest: str) -> int | None:
        """As noted by the compiler; else the constant with which a counter from 0 is compared."""
        if noted := TRIPS.search(rest):
            return int(noted[1])
        condition = self._bodies[_CONDITION.search(rest)[1]]
        lines = [f" {kind}({rest}" for _, _, kind, rest in condition]
        bounds = [found[1] for line in lines if (found := _LESS.search(line))]
        if len(bounds) != 1 or self._lines[bounds[0]][2] != "constant":
            return None
        return int(self._lines[bounds[0]][3].partition(")")[0])


def _direction(rest: str) -> str:
    """From the name that JAX's transformations gave the loop."""
    found = _OP_NAME.search(rest)
    name = found[1] if found else ""
    if "transpose(" in name:
        return "backward"
    return "forward" if "jvp(" in name else "other"

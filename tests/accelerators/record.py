"""Records what compilers tell of a few programs, for `tests/test_loops.py`.

python -m tests.accelerators.record

Written with JAX 0.11.2, its jax-cuda13-plugin and libtpu 0.0.52. What the reader does not read is
left out.
"""

import gzip
import json
import pathlib
import re

import jax

from tests.accelerators.figures import CELLS, TPU, B, M, T
from tests.accelerators.programs import training_step
from tlstm_jax import as_sequence
from tlstm_jax.devices import targets

RECORDED = pathlib.Path(__file__).parent.parent / "data" / "compiled.json.gz"
TRIMMED = (
    (re.compile(r"metadata=\{(?:(?!op_name)[^}])*\}"), ""),
    (re.compile(r'metadata=\{[^}]*?(op_name="[^"]*")[^}]*\}'), r"metadata={\1}"),
    (re.compile(r'backend_config=\{.*?("known_trip_count":\{"n":"\d+"\}).*$', re.M), r"\1"),
    (re.compile(r"backend_config=\{.*$", re.M), ""),
    (re.compile(r"(?<=\])\{[^}]*\}"), ""),  # layouts
)


def trimmed(text):
    text = text[re.search(r"^%[\w.\-]+ .*\{$", text, re.M).start() :]
    for pattern, replacement in TRIMMED:
        text = pattern.sub(replacement, text)
    return text


def main():
    recorded = {"jax": jax.__version__}
    for cell in ("lstm", "tlstm-2d"):
        for target in ("h200", TPU):
            device = targets.devices(target)[0]
            lowered = training_step(as_sequence(CELLS[cell]), M, device, steps=T, batch=B)
            if target in targets.GPUS:
                program, *found = targets.compile_for_gpu(lowered)
            else:
                program, found = lowered.compile(), []
            recorded[f"{cell} {target}"] = [*found, trimmed(program.as_text())]
    with gzip.GzipFile(RECORDED, "wb", mtime=0) as file:
        file.write(json.dumps(recorded).encode())


if __name__ == "__main__":
    main()

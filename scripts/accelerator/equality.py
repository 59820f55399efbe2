"""Whether the device equals the CPU: every model, and a training that changes devices."""

import concurrent.futures
import os
import pathlib
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlstm_jax import training, zoo
from tlstm_jax.network import Network
from tlstm_jax.scripts.accelerator.record import Clock, Record
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training import checkpointing
from tlstm_jax.training.settings import TrainSettings
from tlstm_jax.typing import PyTree

T, B, SIZE, CLASSES = 6, 3, 5, 4
SETTINGS: dict[str, dict[str, Any]] = {
    "tlstm": {"normalization": "channel"},
    "wavenet": {"dilations": (1, 2)},
}


def models(record: Record, clock: Clock) -> None:
    """Outputs, gradients, streams and generation of every model, on the device and on the CPU.

    Programs are traced one by one, and meanwhile compiled on as many threads as there are cores.
    """
    pending: dict[str, dict[str, Callable[[], Any]]] = {}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name in zoo.MODELS:
            if clock.left < clock.seconds / 4:  # for the compilations that are under way
                record.add("equality", name, left_out="no time was left")
                continue
            try:
                pending[name] = _programs(name, pool)
            except Exception as e:
                record.add("equality", name, failed=f"{type(e).__name__}: {e}"[:300])
        for name, programs in pending.items():
            record.attempt("equality", name, lambda programs=programs: _compare(programs))


def _programs(name: str, pool: concurrent.futures.Executor) -> dict[str, Callable[[], Any]]:
    """A model's results as functions: on the CPU, and on the device with two precisions."""
    size = zoo.example_input_size(name, SIZE)
    network = zoo.make_network(
        name,
        input_size=size,
        output_size=CLASSES,
        tokens=False,
        features=8,
        **SETTINGS.get(name, {}),
    )
    params, state = network.init(jax.random.key(0))
    xs = np.random.default_rng(0).normal(size=(T, B, *np.atleast_1d(size))).astype(np.float32)
    lengths = np.array([T, 2, 4], np.int32)
    everything = jax.jit(_everything(network))
    programs = {}
    for where, device, precision in (
        ("cpu", jax.devices("cpu")[0], "highest"),
        ("highest", jax.devices()[0], "highest"),
        ("default", jax.devices()[0], "default"),
    ):
        with jax.default_matmul_precision(precision):
            args = jax.device_put((params, state, xs, lengths), device)
            compiled = pool.submit(everything.lower(*args).compile)
        programs[where] = lambda compiled=compiled, args=args: compiled.result()(*args)
    return programs


def _compare(programs: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    results = {where: jax.device_get(call()) for where, call in programs.items()}
    return {
        f"{what}, {precision}": _apart(results[precision][what], expected)
        for precision in ("highest", "default")
        for what, expected in results["cpu"].items()
    }


def _everything(network: Network) -> Callable[..., dict[str, PyTree]]:
    def everything(params: PyTree, state: PyTree, xs: Any, lengths: Any) -> dict[str, PyTree]:
        def logits(params: PyTree, lengths: Any) -> Any:
            carry = network.init_carry(B, params=params)
            return network.apply(params, state, carry, xs, lengths=lengths)[1]

        def loss(params: PyTree) -> Any:
            return jnp.sum(jnp.sin(logits(params, None)))

        carry = network.init_carry(B, params=params)
        stream = []
        for segment in jnp.split(xs, 2):
            carry, out, _, _ = network.apply(params, state, carry, segment, flush=False)
            stream.append(out)
        out = {
            "outputs": logits(params, None),
            "with lengths": logits(params, lengths),
            "gradients": jax.grad(loss)(params),
            "stream": stream,
        }
        if network.causal:
            start = network.init_token_carry(B, params=params)
            step = lambda carry, x: network.token_step(params, state, carry, x)  # noqa: E731
            out["generation"] = jax.lax.scan(step, start, xs)[1]
        return out

    return everything


def _apart(found: PyTree, expected: PyTree) -> float:
    """The largest difference of two trees' leaves, relative to the largest number of the second."""
    pairs = list(zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True))
    scale = max(float(np.abs(b).max()) for _, b in pairs)
    return max(float(np.abs(a - b).max()) for a, b in pairs) / max(scale, 1e-30)


def resume(record: Record) -> None:
    """A training begun on the CPU resumes on the device, beside one that stays on the CPU."""
    record.attempt("equality", "a resume begun on the CPU", _resume)


def _resume() -> dict[str, Any]:
    cpu, device = jax.devices("cpu")[0], jax.devices()[0]
    task = memorization(num_symbols=3, alphabet_size=4, batch_size=4, eval_samples=8)
    network = zoo.make_network(
        "tlstm",
        input_size=task.input_size,
        output_size=task.output_size,
        tokens=True,
        features=8,
        normalization="channel",
    )
    settings = TrainSettings(num_steps=20, eval_every=10, checkpoint_every=10, steps_per_call=10)
    with jax.default_matmul_precision("highest"), tempfile.TemporaryDirectory() as folder:
        with jax.default_device(cpu):
            reports = list(_saved(training.fit(network, task, settings), pathlib.Path(folder)))
        with jax.default_device(device):
            like = training.abstract_state(network, task, settings)
            saved = checkpointing.restore(folder, like, step=10)
            begin = jax.device_put(saved.state, device)
            *_, last = training.fit(network, task, settings, state=begin, progress=saved.progress)
        return {"loss on the CPU": reports[-1], "loss on both": float(last.train["loss"])}


def _saved(reports: Any, folder: pathlib.Path) -> Any:
    """The loss of each report, its state saved once."""
    for report in reports:
        if report.progress.step == 10:
            checkpointing.save(folder, report.state, report.progress)
        yield float(report.train["loss"])

"""What the command-line programs share: platform, one-line errors, signals."""

import contextlib
import inspect
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from absl import app, flags, logging

from scripts import requirements

INT32 = (-(2**31), 2**31 - 1)  # what JAX takes as a seed
PLATFORMS = ("cpu", "gpu", "tpu")

flags.DEFINE_enum("platform", None, PLATFORMS, "Where to run; the fastest there is if unset.")


def run(main: Callable[[], int | None], *, connect: Callable[[], None] | None = None) -> None:
    """Parses the flags and calls `main`, whose result is the exit code.

    Args:
      connect: called before JAX looks for devices.
    """

    def start(argv: list[str]) -> None:
        # Orbax and tfds warn of what a user cannot change, and log with tracebacks what they raise, too.
        logging.set_verbosity(logging.FATAL)
        with one_line_errors():
            if len(argv) > 1:
                raise ValueError(f"unexpected argument {argv[1]!r}; accepted are --flags only")
            _choose_platform(flags.FLAGS.platform, connect)
        try:
            code = main() or 0
            sys.stdout.flush()
        except BrokenPipeError:  # of a reader such as head
            _drop_output()
            code = 0
        except OSError as e:  # of a full disk
            fail(str(e))
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            code = 130
        sys.exit(code)

    if getattr(sys.stdout, "errors", None) in ("strict", "surrogateescape"):
        # As standard error does: a model may write what a terminal cannot show.
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.unraisablehook = _hide_late_reads
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    app.run(start, flags_parser=_parse_flags)


def _drop_output() -> None:
    """What standard output did not take is not tried again, with a traceback, at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _hide_late_reads(unraisable: Any) -> None:
    """Reads that a damaged checkpoint leaves under way end after their loop; `fail` tells the error."""
    loop = str(unraisable.exc_value) == "Event loop is closed"
    if not loop and not inspect.iscoroutine(unraisable.object):
        sys.__unraisablehook__(unraisable)


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        return app.parse_flags_with_usage(argv)
    except UnicodeDecodeError as e:  # the only one that absl lets through
        fail(f"a --flagfile cannot be read ({e}); accepted are text files in UTF-8")


def _choose_platform(platform: str | None, connect: Callable[[], None] | None) -> None:
    import jax

    if platform is not None:
        jax.config.update("jax_platforms", {"gpu": "cuda"}.get(platform, platform))
    if connect is not None:
        connect()
    if platform is None:
        return
    try:
        jax.devices()
    except RuntimeError:
        raise ValueError(f"platform is {platform!r}, but JAX finds no such device here") from None


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """A user's mistake ends the program with one line, not with a traceback."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as e:
        fail(str(e))
    except ImportError as e:
        gone = isinstance(e, ModuleNotFoundError) and e.name is not None
        fail(requirements.missing(e.name) if gone else str(e))
    except (OverflowError, MemoryError, RuntimeError) as e:
        # XLA's exception for too little memory is a RuntimeError like any other of its.
        if isinstance(e, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(e):
            raise
        why = str(e) or type(e).__name__
        fail(f"too large for this machine ({why}); accepted are smaller sizes")


def fail(message: str) -> NoReturn:
    """Ends the program with one line on standard error and exit code 1."""
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output()
    sys.exit("error: " + " ".join(message.split()))


class StopSignals:
    """Turns the first Ctrl-C or SIGTERM into a request; the second ends the program at once."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def __enter__(self) -> "StopSignals":
        self._before = {s: signal.signal(s, self._on) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: not one of Python's

    def _on(self, number: int, frame: object) -> None:
        del frame
        if self.reason is not None:
            os._exit(128 + number)
        self.reason = f"stopped by {signal.Signals(number).name}"
        print(
            f"\n{self.reason}: finishing the running call, then saving", file=sys.stderr, flush=True
        )


class _CheckpointParser(flags.ArgumentParser):
    syntactic_help = "latest, best, or a step"

    def parse(self, argument: str | int) -> str | int:
        if argument in ("latest", "best") or isinstance(argument, int):
            return argument
        try:
            return int(argument)
        except ValueError:
            raise ValueError(f"{argument!r}; accepted are latest, best, or a step") from None


def define_checkpoint_flag() -> flags.FlagHolder:
    """--checkpoint, "best" by default."""
    return flags.DEFINE(
        _CheckpointParser(), "checkpoint", "best", "Which: latest, best, or a step."
    )

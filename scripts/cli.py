"""What the command-line programs share: platform, one-line errors, signals."""

import contextlib
import inspect
import math
import os
import pathlib
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from absl import app, flags, logging

from tlstm_jax.scripts import output, requirements

INT32 = (-(2**31), 2**31 - 1)  # what JAX takes as a seed
PLATFORMS = ("cpu", "gpu", "tpu")
SIGHUP, SIGPIPE = getattr(signal, "SIGHUP", None), 13  # Windows has neither
STOPPING = tuple(filter(None, (signal.SIGINT, signal.SIGTERM, SIGHUP)))
GONE = "the reader of standard output is gone"

flags.DEFINE_enum("platform", None, PLATFORMS, "Where to run; the fastest device if unset.")


def run(main: Callable[[], int | None], *, connect: Callable[[], None] | None = None) -> None:
    """Parses the flags and calls `main`, whose result is the exit code.

    Args:
      connect: called before JAX looks for devices.
    """

    def start(argv: list[str]) -> None:
        # Orbax and tfds warn of what a user cannot change, and also log, with tracebacks, what they
        # raise.
        logging.set_verbosity(logging.FATAL)
        try:
            with one_line_errors():
                if len(argv) > 1:
                    raise ValueError(f"unexpected argument {argv[1]!r}; accepted are --flags only")
                choose_platform(flags.FLAGS.platform, connect)
            code = main() or 0
            sys.stdout.flush()
        except OSError as e:  # of a full disk
            fail(str(e))
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            code = 130
        sys.exit(code)

    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS["platform"])  # for --help
    output.protect()
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as it is while programs are imported
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.pop("MPLBACKEND", None)  # pictures are files; one that matplotlib lacks is an error
    sys.unraisablehook = _hide_late_reads
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    app.run(start, flags_parser=_parse_flags)


def _hide_late_reads(unraisable: Any) -> None:
    """Hides late errors of reads of a damaged checkpoint, which `fail` has reported."""
    loop = str(unraisable.exc_value) == "Event loop is closed"
    if not loop and not inspect.iscoroutine(unraisable.object):
        sys.__unraisablehook__(unraisable)


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        return app.parse_flags_with_usage(argv)
    except UnicodeDecodeError as e:  # the only one that absl lets through
        fail(f"a --flagfile cannot be read ({e}); accepted are text files in UTF-8")


def choose_platform(platform: str | None, connect: Callable[[], None] | None = None) -> None:
    """Has JAX look for devices of one of `PLATFORMS` alone.

    Raises:
      ValueError: there are none.
    """
    import jax

    if platform is not None:
        jax.config.update("jax_platforms", {"gpu": "cuda"}.get(platform, platform))
    if connect is not None:
        connect()
    wanted = os.environ.get("JAX_PLATFORMS", "") if platform is None else platform
    if not wanted:
        return
    try:
        jax.devices()
    except (RuntimeError, AssertionError):
        name = "JAX_PLATFORMS" if platform is None else "platform"
        raise ValueError(
            f"{name} is {wanted!r}, but JAX finds no such device here; accepted are cpu "
            "and what it finds"
        ) from None


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """A user's mistake ends the program with one line, not with a traceback."""
    try:
        yield
    except (ValueError, OSError) as e:
        fail(str(e))
    except ImportError as e:
        gone = isinstance(e, ModuleNotFoundError) and e.name is not None
        fail(requirements.missing(e.name) if gone else str(e))
    except (OverflowError, MemoryError, RuntimeError) as e:
        # XLA's exception for too little memory is a RuntimeError like all of its exceptions.
        if isinstance(e, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(e):
            raise
        why = str(e) or type(e).__name__
        fail(f"too large for this machine ({why}); accepted are smaller sizes")


def fail(message: str) -> NoReturn:
    """Ends the program with one line on standard error and exit code 1."""
    try:
        sys.stdout.flush()
    except OSError:
        sys.stdout.drop()
    sys.exit("error: " + " ".join(message.split()))


class StopSignals:
    """Turns the first Ctrl-C, SIGTERM or SIGHUP into a request to stop; the next ends at once.

    A reader of standard output that goes away is such a request, too. An ignored SIGHUP, as with
    nohup, stays ignored.
    """

    def __init__(self, max_minutes: float | None = None) -> None:
        """`max_minutes`: after which to stop as well; None: never."""
        self._reason: str | None = None
        self._end = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes

    @property
    def reason(self) -> str | None:
        """Why to stop, or None."""
        out_of_time = "out of time" if time.monotonic() > self._end else None
        return self._reason or (GONE if output.is_gone() else out_of_time)

    def __enter__(self) -> "StopSignals":
        caught = [s for s in STOPPING if s != SIGHUP or signal.getsignal(s) is not signal.SIG_IGN]
        self._before = {s: signal.signal(s, self._on) for s in caught}
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: not one of Python's

    def _on(self, number: int, frame: object) -> None:
        del frame
        if self._reason is not None:
            if number == SIGHUP:  # a terminal that closes may send several
                return
            os._exit(128 + number)
        self._reason = _stopped_by(number)
        told = f"\n{self._reason}: finishing the running call, then saving\n"
        with contextlib.suppress(OSError):  # past the buffer, which may be being written to
            os.write(2, told.encode())


def check_minutes(max_minutes: float | None) -> None:
    """Raises ValueError unless it is None or positive."""
    if max_minutes is not None and not max_minutes > 0:  # NaN too
        raise ValueError(f"max_minutes is {max_minutes}; accepted are numbers > 0")


def _stopped_by(number: int) -> str:
    return f"stopped by {signal.Signals(number).name}"


def exit_code(reason: str | None) -> int:
    """The exit code of a program that stopped for a reason of `StopSignals`; 0 for any other."""
    codes = {_stopped_by(number): 128 + number for number in STOPPING}
    return (codes | {GONE: 128 + SIGPIPE}).get(reason, 0)


def command(program: str) -> str:
    """How another program is called: in a checkout, or in an installation."""
    installed = pathlib.Path(__file__).parent.parent.name == "tlstm_jax"
    return f"tlstm-jax {program}" if installed else f"python -m scripts.{program}"


def recover(checkpoints: pathlib.Path) -> int | None:
    """The step to resume from, None for scratch; says what is damaged, and moves it aside."""
    from tlstm_jax.training import checkpointing  # slow to import, and not needed by all

    step, found = checkpointing.recover(checkpoints)
    if found:
        then = "starting from scratch" if step is None else f"resuming from step {step}"
        print(f"{'; '.join(found)}; {then}", flush=True)
    return step


class PathParser(flags.ArgumentParser):
    """A path, ~ in it expanded."""

    syntactic_help = "a path"

    def parse(self, argument: str) -> str:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{argument!r} is not UTF-8; accepted are paths in UTF-8") from None
        path = os.path.expanduser(argument)
        if path.startswith("~"):
            raise ValueError(
                f"{argument!r} is in the home of an unknown user; accepted is ./{argument} for a "
                "file"
            )
        return path


def define_path_flag(name: str, default: str | None, text: str, **options: Any) -> flags.FlagHolder:
    """A flag that is a path."""
    return flags.DEFINE(
        PathParser(), name, default, text, serializer=flags.ArgumentSerializer(), **options
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


flags.disclaim_key_flags()  # what is defined by a function of this module is its caller's

"""Standard output and error that may be closed from the start, or while a program runs."""

import errno
import io
import os
import sys

_GONE = (errno.EPIPE, errno.EIO)  # of a reader such as head; of a terminal


class Output(io.TextIOWrapper):
    """A text stream whose reader may go away: what comes later is dropped, and `gone` says so."""

    gone = False

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as e:
            self._drop(e)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as e:
            self._drop(e)

    def _drop(self, error: OSError) -> None:
        if error.errno not in _GONE:
            raise error
        self.gone = True
        self.drop()

    def drop(self) -> None:
        """Drops what is buffered and what comes later, so that it is not tried again at the end."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)


def protect() -> None:
    """Replaces a program's standard streams by `Output`; output to closed ones is dropped."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # the next file to be opened would take its place
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            raw = open(number, "wb", closefd=False)  # noqa: SIM115, as long as the program runs
            setattr(sys, name, Output(raw, "utf-8", "backslashreplace"))
        elif type(stream) is io.TextIOWrapper:
            how = {"line_buffering": stream.line_buffering, "write_through": stream.write_through}
            # What a terminal's encoding lacks is escaped, unless the user chose something else.
            strict = stream.errors in ("strict", "surrogateescape")
            errors = "backslashreplace" if strict else stream.errors
            whole = Output(stream.detach(), stream.encoding, errors, **how)
            setattr(sys, name, whole)


def is_gone() -> bool:
    """Whether the reader of standard output went away."""
    return getattr(sys.stdout, "gone", False)

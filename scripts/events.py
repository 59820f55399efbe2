"""TensorBoard's events, written where they arise, so that a full disk is an error of the program.

tensorboardX's SummaryWriter has a thread for them, which ends with a traceback when it cannot write, and
leaves the program waiting for it.
"""

import os
import pathlib
import time
from collections.abc import Mapping

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

FLUSH_SECONDS = 30


class EventLog:
    """Appends numbers to a new file of events, from step `start` on."""

    def __init__(self, directory: pathlib.Path, start: int) -> None:
        # The process's number: another start in the same second has a file of its own.
        self._writer = EventsWriter(str(directory / "events"), f".{os.getpid()}")
        self._flushed = time.monotonic()
        begin = SessionLog(status=SessionLog.START)  # what is later than `start` is not shown
        self._writer.write_event(Event(wall_time=time.time(), step=start + 1, session_log=begin))

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Numbers under their names.

        Raises:
          OSError: they cannot be written.
        """
        for name, value in numbers.items():
            summary = scalar(name, value)
            self._writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flushed = time.monotonic()
            self._writer.flush()

    def close(self) -> None:
        self._writer.close()

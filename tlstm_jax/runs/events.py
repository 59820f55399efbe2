"""TensorBoard's events, written where they arise, so that a full disk is the program's error.

tensorboardX's SummaryWriter has a thread for them, which ends with a traceback when it cannot
write, and leaves the program waiting for it.
"""

import os
import pathlib
import re
import socket
import time
from collections.abc import Iterable, Mapping
from typing import Any

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import RecordWriter
from tensorboardX.summary import scalar

NAME = "events.out.tfevents"  # their names' prefix
_UNUSED = "events.unused"  # a name that TensorBoard does not read
_START = re.compile(rf"{NAME}\.(\d{{1,12}})\.")


class EventLog:
    """One file of events, with the content of metrics.jsonl from its first line on.

    It replaces those of earlier starts: what they lost, or have beyond the step that a run resumes
    from, does not matter then.
    """

    def __init__(
        self, directory: pathlib.Path, before: Iterable[Mapping[str, Any]], *, keep: bool
    ) -> None:
        """Writes the file, with the numbers of the records `before`; then retires the earlier ones.

        Args:
          keep: whether the earlier ones are renamed, not removed.
        """
        old = sorted(directory.glob(f"{NAME}.*"))
        starts = [int(m.group(1)) for path in old if (m := _START.match(path.name))]
        # Sorts after the others, which TensorBoard may be reading, even if the clock was set back.
        start = max(int(time.time()), *(s + 1 for s in starts), 0)
        name = f"{NAME}.{start:010d}.{socket.gethostname()}.{os.getpid()}"
        self._writer, self._time = RecordWriter(str(directory / name)), float(start)
        self._write(file_version="brain.Event:2")
        self._write(step=1, session_log=SessionLog(status=SessionLog.START))  # forget what was read
        for record in before:
            self.write(record, flush=False)
        self._writer.flush()
        for path in old:
            if keep:
                path.rename(path.with_name(path.name.replace(NAME, _UNUSED)))
            else:
                path.unlink()

    def write(self, record: Mapping[str, Any], *, flush: bool = True) -> None:
        """The numbers of one line of metrics.jsonl.

        Raises:
          OSError: they cannot be written.
        """
        for part in ("train", "valid"):
            for name, value in record.get(part, {}).items():
                self._write(step=record["step"], summary=scalar(f"{part}/{name}", value))
        if flush:  # so that a kill does not leave fewer of them than of the metrics
            self._writer.flush()

    def _write(self, **content: Any) -> None:
        self._time = max(self._time, time.time())
        self._writer.write(Event(wall_time=self._time, **content).SerializeToString())

    def close(self) -> None:
        self._writer.close()

"""Standard output and error in forked children.

If a thread writes to a stream while another thread forks, the stream's lock stays locked in the child for ever. So a
child of a process with threads gets new streams on the same descriptors. The parent writes what the old ones had
buffered.
"""

import io
import os
import sys
import threading

__all__ = ["streams"]


class Streams:
    """Records before a fork whether there are threads, and replaces the streams after it."""

    shared = False

    def record_threads(self):
        """Record whether this process has threads. This runs last before a fork."""
        self.shared = threading.active_count() > 1

    def renew(self):
        """Replace the streams if the parent had threads. This runs first in a forked child."""
        if self.shared:
            for name in ("stdout", "stderr"):
                setattr(sys, name, self._anew(getattr(sys, name)))

    def _anew(self, stream):
        original = type(stream) is io.TextIOWrapper and type(stream.buffer) is io.BufferedWriter
        if not original:
            return stream
        # The old stream must not be finalized, which would flush it and close the descriptor.
        self.__dict__.setdefault("kept", []).append(stream)
        return open(
            stream.buffer.raw.fileno(),
            "w",
            buffering=1 if stream.line_buffering else -1,
            encoding=stream.encoding,
            errors=stream.errors,
            closefd=False,
        )


streams = Streams()
os.register_at_fork(before=streams.record_threads)

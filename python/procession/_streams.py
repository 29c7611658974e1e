"""Standard output and error in forked children.

A thread that was writing while its process was forked holds the stream's lock in the child, for ever. So a child of a
process with threads gets streams of its own, on the same descriptors; what the old ones had buffered is the parent's to
write.
"""

import io
import os
import sys
import threading

__all__ = ["streams"]


class Streams:
    """Notes before a fork whether there are threads, and renews the streams after it."""

    shared = False

    def note(self):
        """Last thing before a fork: whether this process has threads."""
        self.shared = threading.active_count() > 1

    def renew(self):
        """First thing in a forked child: streams of its own, if its parent had threads."""
        if self.shared:
            for name in ("stdout", "stderr"):
                setattr(sys, name, self._anew(getattr(sys, name)))

    def _anew(self, stream):
        original = type(stream) is io.TextIOWrapper and type(stream.buffer) is io.BufferedWriter
        if not original:
            return stream
        # The old one must not be finalized: that would flush it, and close the descriptor.
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
os.register_at_fork(before=streams.note)

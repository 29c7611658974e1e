"""The standard library's pools, on its own pipes and on this package's locks."""

from ._standard import adopt

adopt(__name__, globals())

from .queues import PipeQueue  # noqa: E402


def _setup_queues(self):
    self._inqueue = PipeQueue(ctx=self._ctx)
    self._outqueue = PipeQueue(ctx=self._ctx)
    self._quick_put = self._inqueue._writer.send
    self._quick_get = self._outqueue._reader.recv


Pool._setup_queues = _setup_queues  # noqa: F821

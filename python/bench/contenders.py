"""The contenders, and how each makes its queues, locks and processes."""

import importlib
import importlib.metadata
import importlib.util
import multiprocessing
from dataclasses import dataclass

STANDARD = "standard library"
FASTER_FIFO = "faster-fifo"
PROCESSION = "procession"

MIB = 1 << 20


@dataclass(frozen=True)
class Contender:
    """The standard library; the other classes override what is different.

    `name` is its name in the table, `package` the package to import, and `distribution` the installed
    distribution (`None` if it is part of Python).
    """

    name: str
    package: str
    distribution: str | None = None

    def present(self):
        """Returns whether the package can be found, without importing it."""
        spec = importlib.util.find_spec(self.package)
        # A mere folder of that name somewhere on the path is no package.
        return spec is not None and spec.origin is not None

    def version(self):
        """Returns the installed version, `None` if it is unknown."""
        try:
            return importlib.metadata.version(self.distribution) if self.distribution else None
        except importlib.metadata.PackageNotFoundError:
            return None

    def context(self, method):
        """Returns the context with `Process`, `Lock` and, mostly, `Queue`."""
        return multiprocessing.get_context(method)

    def queue(self, context, maxsize=0, largest=0):
        """Makes a queue of at most `maxsize` messages (0: no limit), each of at most `largest` bytes."""
        return context.Queue(maxsize)

    def zero_copy_queue(self, context, maxsize, largest):
        """Makes the same queue, with large messages read in place if the contender can do that."""
        return self.queue(context, maxsize, largest)

    def lock(self, context):
        """Makes a lock that processes share."""
        return context.Lock()


class FasterFifo(Contender):
    """Queues only, in a buffer of fixed size; processes are the standard library's."""

    def queue(self, context, maxsize=0, largest=0):
        module = importlib.import_module(self.package)
        room = max(64 * MIB, (maxsize + 2) * (largest + 4096))
        return module.Queue(max_size_bytes=room, maxsize=maxsize or 1_000_000_000)


class Procession(Contender):
    """The same names as in the standard library, in another module."""

    def context(self, method):
        return importlib.import_module(self.package).get_context(method)

    def zero_copy_queue(self, context, maxsize, largest):
        return context.Queue(maxsize, zero_copy=True)


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender(STANDARD, "multiprocessing.queues"),
        FasterFifo(FASTER_FIFO, "faster_fifo", "faster-fifo"),
        Procession(PROCESSION, "procession", "procession"),
    )
}

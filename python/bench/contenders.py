"""Who takes part, and how each makes its queues, locks and processes."""

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
    """The standard library; the others say what they do differently.

    `name` is what the table calls it, `package` what has to be imported, and `distribution` what was installed
    (`None` for what comes with Python).
    """

    name: str
    package: str
    distribution: str | None = None

    def present(self):
        """Whether the package can be found; it is not imported."""
        spec = importlib.util.find_spec(self.package)
        # A mere folder of that name somewhere on the path is no package.
        return spec is not None and spec.origin is not None

    def version(self):
        """The version that is installed, `None` if that is not known."""
        try:
            return importlib.metadata.version(self.distribution) if self.distribution else None
        except importlib.metadata.PackageNotFoundError:
            return None

    def context(self, method):
        """What `Process`, `Lock` and, mostly, `Queue` are taken from."""
        return multiprocessing.get_context(method)

    def queue(self, context, maxsize=0, largest=0):
        """A queue of `maxsize` messages at most (0: any number), none with more than `largest` bytes."""
        return context.Queue(maxsize)

    def zero_copy_queue(self, context, maxsize, largest):
        """The same queue, its large messages read where they lie, if the contender can do that."""
        return self.queue(context, maxsize, largest)

    def lock(self, context):
        """A lock that processes share."""
        return context.Lock()


class FasterFifo(Contender):
    """Queues only, in a buffer of fixed size; processes are the standard library's."""

    def queue(self, context, maxsize=0, largest=0):
        module = importlib.import_module(self.package)
        room = max(64 * MIB, (maxsize + 2) * (largest + 4096))
        return module.Queue(max_size_bytes=room, maxsize=maxsize or 1_000_000_000)


class Procession(Contender):
    """The same names as in the standard library, from another module."""

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

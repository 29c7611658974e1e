"""Inspection of the program's processes."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._inspection import Inspection

__all__ = ["inspect"]


def inspect() -> Inspection:
    """Inspect the program: its processes, the objects they share, which process holds them, which thread waits for
    what, and deadlocks.

    Any process of the program may call this at any time, and sees all processes:

        print(procession.inspect())

    Deadlocks are found among locks (`Lock`, `RLock`, and the lock of a `Condition`), and are reported with processes,
    threads and times. A lock that a thread other than its holder is going to release looks like a deadlock, too.
    """
    # Imported here because `typing` takes longer to import than all of this package.
    from ._inspection import look

    return look()

"""Seeing what a program's processes do."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._inspection import Inspection

__all__ = ["inspect"]


def inspect() -> Inspection:
    """Look at the program: its processes, what they share, who holds what, which thread waits for what, and deadlocks.

    Any process of the program may ask, at any time, and sees all of them:

        print(procession.inspect())

    A deadlock is found among locks (`Lock`, `RLock`, and the lock of a `Condition`), and is told with processes, threads and
    for how long. A lock that another than its holder is going to release looks the same.
    """
    # Not before it is needed: `typing` takes longer to import than all of this package.
    from ._inspection import look

    return look()

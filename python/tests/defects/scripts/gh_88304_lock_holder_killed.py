"""#88304: a Lock or RLock is lost for ever when the process that holds it is killed.

Right: the next `acquire` gets it with an OwnerDiedWarning, and so does one that waits already.
"""

import time
import warnings

from _common import (
    PACKAGE,
    PATIENCE,
    check,
    ctx,
    kill,
    received,
    right,
    start,
    started_and_asleep,
    sub,
    until_asleep,
)


def holder(ready, lock):
    lock.acquire()
    ready.send(None)
    time.sleep(600)


def waiter(ready, lock):
    warnings.simplefilter("ignore")
    ready.send(None)
    with lock:
        ready.send("mine")


def main():
    for kind in ("Lock", "RLock"):
        lock = getattr(ctx, kind)()

        # No process waits when the holder dies.
        victim = started_and_asleep(holder, lock)
        check(not lock.acquire(False), f"{kind} of a living process was given to another")
        kill(victim)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            check(
                lock.acquire(True, PATIENCE),
                f"{kind} is lost: its holder was killed and acquire(timeout) fails",
            )
        if PACKAGE != "multiprocessing":
            expected = sub("synchronize").OwnerDiedWarning
            check(issubclass(expected, RuntimeWarning), "OwnerDiedWarning is no RuntimeWarning")
            told = [warning for warning in told if issubclass(warning.category, RuntimeWarning)]
            check(
                [warning.category for warning in told] == [expected],
                f"{kind}: not one OwnerDiedWarning, but {[str(warning.message) for warning in told]}",
            )
        lock.release()

        # It is as good as new: the next one hears nothing of it.
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            check(lock.acquire(True, PATIENCE), f"{kind} cannot be acquired again after it was recovered")
            lock.release()

        # A process waits without a deadline when the holder dies.
        victim = started_and_asleep(holder, lock)
        mine, theirs = ctx.Pipe()
        process = start(waiter, theirs, lock)
        received(mine, "a process that starts")
        until_asleep(process)
        kill(victim)
        received(mine, f"acquire of a {kind} whose holder was killed")
        process.join(PATIENCE)
        check(process.exitcode == 0, f"the process that waited ended with {process.exitcode}")
    right()


if __name__ == "__main__":
    main()

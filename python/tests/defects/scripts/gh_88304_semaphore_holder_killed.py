"""#88304: the permits of a Semaphore or BoundedSemaphore that a killed process had are lost for ever.

Right: the next `acquire` gets one with an OwnerDiedWarning; living processes keep their permits.
"""

import time
import warnings

from _common import PACKAGE, PATIENCE, check, ctx, kill, right, started_and_asleep, sub


def holder(ready, semaphore):
    semaphore.acquire()
    ready.send(None)
    time.sleep(600)


def main():
    for kind in ("Semaphore", "BoundedSemaphore"):
        semaphore = getattr(ctx, kind)(2)
        first = started_and_asleep(holder, semaphore)
        second = started_and_asleep(holder, semaphore)
        check(not semaphore.acquire(False), f"a third acquire of a {kind}(2)")
        for victim in (first, second):
            kill(victim)
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                check(semaphore.acquire(True, PATIENCE), f"what a killed process held of a {kind} is lost")
            if PACKAGE != "multiprocessing":
                expected = sub("synchronize").OwnerDiedWarning
                told = [warning for warning in told if issubclass(warning.category, RuntimeWarning)]
                check(
                    [warning.category for warning in told] == [expected],
                    f"{kind}: not one OwnerDiedWarning, but {[str(warning.message) for warning in told]}",
                )
            check(not semaphore.acquire(False), f"a {kind}(2) was acquired by three")
        semaphore.release()
        semaphore.release()
    right()


if __name__ == "__main__":
    main()

"""#123899: if a party of a Barrier is killed while it waits, the barrier ignores the timeouts of the others.

Right: the barrier is broken, and all other parties get the error in time.
"""

import threading

from _common import ctx, kill, right, started_and_asleep, within, wrong


def party(ready, barrier):
    ready.send(None)
    barrier.wait()


def wait(barrier, timeout):
    try:
        barrier.wait(timeout)
    except threading.BrokenBarrierError:
        return
    wrong("a Barrier let somebody pass whose other party is dead")


def main():
    # A party that waits with a timeout.
    barrier = ctx.Barrier(3)
    kill(started_and_asleep(party, barrier))
    within(wait, barrier, 1, what="Barrier.wait(1) after a party was killed")
    # A party that comes afterwards.
    within(wait, barrier, None, what="Barrier.wait() of a broken barrier")
    right()


if __name__ == "__main__":
    main()

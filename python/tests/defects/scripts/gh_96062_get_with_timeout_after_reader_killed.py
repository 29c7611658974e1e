"""#96062: a process killed in `Queue.get` keeps the reader lock, so the next `get(timeout)` says Empty.

The item is there all the time.
"""

import queue as threads

from _common import PATIENCE, check, ctx, kill, right, started_and_asleep, within, wrong


def consumer(ready, queue, timeout):
    ready.send(None)
    queue.get(timeout=timeout)


def main():
    for timeout in (None, 600):
        queue = ctx.Queue()
        for _ in range(2):
            kill(started_and_asleep(consumer, queue, timeout))
        queue.put("bun")
        try:
            got = within(queue.get, True, PATIENCE - 1, what="get(timeout)")
        except threads.Empty:
            wrong(
                f"get(timeout) says Empty, though an item is in the queue (the killed one was in get({timeout=}))"
            )
        check(got == "bun", f"got {got!r}")
    right()


if __name__ == "__main__":
    main()

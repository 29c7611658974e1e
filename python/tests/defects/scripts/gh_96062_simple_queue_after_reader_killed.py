"""#96062: a process killed in `SimpleQueue.get` keeps the reader lock, so the next `get` hangs.

That is what happens to a pool when an idle worker is killed.
"""

from _common import check, ctx, kill, right, started_and_asleep, within


def consumer(ready, queue):
    ready.send(None)
    queue.get()


def main():
    queue = ctx.SimpleQueue()
    kill(started_and_asleep(consumer, queue))
    queue.put("bun")
    got = within(queue.get, what="SimpleQueue.get, with an item in the queue,")
    check(got == "bun", f"got {got!r}")
    right()


if __name__ == "__main__":
    main()

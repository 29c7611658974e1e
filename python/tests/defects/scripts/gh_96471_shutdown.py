"""#96471: a queue of threads can be shut down, a queue of processes cannot.

Right: after `shutdown` put raises ShutDown, get does so when the queue is empty, and all waiters are woken.
"""

import queue as threads

from _common import check, ctx, received, right, start, sub, until_asleep, within, wrong


def getter(ready, queue):
    ready.send(None)
    try:
        queue.get()
    except Exception as error:
        ready.send(type(error).__name__)
    else:
        ready.send("an item")


def putter(ready, queue):
    ready.send(None)
    try:
        queue.put("one too many")
    except Exception as error:
        ready.send(type(error).__name__)
    else:
        ready.send("put has returned")


def waiting(target, queue):
    mine, theirs = ctx.Pipe()
    process = start(target, theirs, queue)
    received(mine, "a process that starts")
    until_asleep(process)
    return mine


def expect_shutdown(function, *args):
    expected = getattr(threads, "ShutDown", None) or sub("queues").ShutDown
    try:
        within(function, *args)
    except expected:
        return
    wrong(f"{function} of a queue that is shut down does not raise ShutDown")


def main():
    check(hasattr(ctx.Queue(), "shutdown"), "a queue of processes has no shutdown")

    # Threads that wait for an item are woken.
    queue = ctx.Queue()
    getters = [waiting(getter, queue) for _ in range(2)]
    queue.shutdown()
    for connection in getters:
        woken = received(connection, "a process that waits in get while the queue is shut down")
        check(woken == "ShutDown", f"get ended with {woken}")

    # So are threads that wait for room; the items in the queue can still be taken.
    queue = ctx.Queue(1)
    queue.put("bun")
    connection = waiting(putter, queue)
    queue.shutdown()
    woken = received(connection, "a process that waits in put while the queue is shut down")
    check(woken == "ShutDown", f"put ended with {woken}")
    expect_shutdown(queue.put, "late")
    expect_shutdown(queue.put_nowait, "late")
    got = within(queue.get)
    check(got == "bun", f"got {got!r}")
    expect_shutdown(queue.get)
    expect_shutdown(queue.get, True, 1)
    expect_shutdown(queue.get_nowait)

    # At once: no item is left to take, and no thread is left in join.
    queue = ctx.JoinableQueue()
    queue.put("bun")
    queue.shutdown(immediate=True)
    expect_shutdown(queue.get)
    expect_shutdown(queue.put, "late")
    within(queue.join, what="join of a queue that was shut down at once")
    right()


if __name__ == "__main__":
    main()

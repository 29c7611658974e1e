"""`JoinableQueue.join` hangs for ever if a consumer dies between `get` and `task_done`.

Right, where asked for (`watch=True`): `join` raises ConsumerDied.
"""

import time

from _common import check, ctx, kill, right, start, started_and_asleep, sub, within, wrong


def consumer(ready, queue):
    queue.get()
    ready.send(None)
    time.sleep(600)


def good_consumer(queue):
    queue.get()
    queue.task_done()


def main():
    try:
        queue = ctx.JoinableQueue(5, watch=True)
    except TypeError:
        queue = ctx.JoinableQueue(5)

    # A consumer that works as it should is not taken for a dead one.
    queue.put("done")
    process = start(good_consumer, queue)
    within(queue.join, what="join of a queue whose items are all done")
    process.join()

    # One dies before join, one below it.
    queue.put("lost")
    kill(started_and_asleep(consumer, queue))
    try:
        within(queue.join, what="join of a queue whose consumer was killed")
    except Exception as error:
        check(isinstance(error, sub("queues").ConsumerDied), f"join raises {error!r}")
    else:
        wrong("join says that everything is done, though a consumer was killed before it was")
    right()


if __name__ == "__main__":
    main()

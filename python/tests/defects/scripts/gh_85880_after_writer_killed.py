"""#85880: a process that dies while its feeder thread writes leaves half a message and the writer lock behind.

After that no message of any process arrives.
"""

import time

from _common import check, ctx, kill, right, started_and_asleep, within

BIG = bytes(range(256)) * (16 << 10)  # 4 MiB, more than a pipe holds


def producer(ready, queue):
    queue.put(BIG)
    ready.send("put has returned")
    time.sleep(600)


def main():
    queue = ctx.Queue()
    kill(started_and_asleep(producer, queue))
    queue.put("small")
    got = within(queue.get, what="get of a message whose put had returned before its sender was killed")
    check(got == BIG, "the message of the killed process is not whole")
    got = within(queue.get, what="get of a message that was put after another sender was killed")
    check(got == "small", f"got {got!r}")
    right()


if __name__ == "__main__":
    main()

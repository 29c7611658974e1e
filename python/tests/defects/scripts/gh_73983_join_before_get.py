"""#73983: joining a process that has put more than a pipe's worth hangs until someone drains the queue.

Right: `put` is complete when it returns, so the process ends, and everything it put is there.
"""

from _common import PATIENCE, check, ctx, right, start, within

COUNT, SIZE = 64, 64 << 10


def producer(queue):
    for number in range(COUNT):
        queue.put((number, bytes([number]) * SIZE))


def main():
    queue = ctx.Queue()
    process = start(producer, queue)
    process.join(PATIENCE)
    check(process.exitcode is not None, "join hangs: the process cannot end before its items are taken")
    check(process.exitcode == 0, f"exit code {process.exitcode}")
    for number in range(COUNT):
        got = within(queue.get, what=f"get of item {number}")
        check(got == (number, bytes([number]) * SIZE), f"item {number} is not what was put")
    check(queue.empty(), "there is more in the queue than was put")
    right()


if __name__ == "__main__":
    main()

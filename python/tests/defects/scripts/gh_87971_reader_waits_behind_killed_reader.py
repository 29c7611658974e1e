"""#87971: two processes wait in `Queue.get` and one is killed: the other never gets anything more."""

from _common import check, ctx, kill, received, right, start, started_and_asleep, until_asleep


def consumer(ready, queue):
    ready.send(None)
    while True:
        ready.send(queue.get())


def main():
    queue = ctx.Queue()
    victim = started_and_asleep(consumer, queue)
    mine, theirs = ctx.Pipe()
    survivor = start(consumer, theirs, queue)
    received(mine, "a process that starts")
    until_asleep(survivor)
    kill(victim)
    for number in range(3):
        queue.put(number)
        got = received(mine, f"item {number}, for which a process waits in get behind a killed one")
        check(got == number, f"got {got!r} for {number!r}")
    kill(survivor)
    right()


if __name__ == "__main__":
    main()

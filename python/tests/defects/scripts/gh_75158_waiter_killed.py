"""#75158: `Condition.notify_all` and `Event.set` hang when a process that waited was killed.

Right: they return at once, and wake all living waiters.
"""

import time

from _common import ctx, kill, received, right, start, started_and_asleep, until_asleep, within


def in_line(ready, condition):
    with condition:
        ready.send(None)
        condition.wait()
    ready.send("woken")
    time.sleep(600)


def at_event(ready, event):
    ready.send(None)
    event.wait()
    ready.send("woken")
    time.sleep(600)


def wake_one_of_two(waiter, thing, wake, what):
    victim = started_and_asleep(waiter, thing)
    mine, theirs = ctx.Pipe()
    living = start(waiter, theirs, thing)
    received(mine, "a process that starts")
    until_asleep(living)
    kill(victim)
    within(wake, what=f"{what} after somebody who waited was killed")
    received(mine, f"who waits at {what} beside one who was killed")


def main():
    condition = ctx.Condition()

    def notify_all():
        with condition:
            condition.notify_all()

    wake_one_of_two(in_line, condition, notify_all, "Condition.notify_all")
    # The first waiter is dead: the notification must reach a living one.
    condition = ctx.Condition()

    def notify():
        with condition:
            condition.notify()

    wake_one_of_two(in_line, condition, notify, "Condition.notify")
    event = ctx.Event()
    wake_one_of_two(at_event, event, event.set, "Event.set")
    right()


if __name__ == "__main__":
    main()

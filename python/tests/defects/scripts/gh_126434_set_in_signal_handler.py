"""#126434: `Event.set` in a signal handler deadlocks with a `wait` of the same thread.

Right: the wait ends.
"""

import os
import signal
import threading
import time

from _common import PATIENCE, check, ctx, right, wrong


def main():
    event = ctx.Event()
    signal.signal(signal.SIGUSR1, lambda *_: event.set())

    def send_and_watch():
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(PATIENCE)
        wrong("Event.set() in a signal handler has not returned, or the wait below it")

    threading.Thread(target=send_and_watch, daemon=True).start()
    check(event.wait(2 * PATIENCE), "the event was set, and its wait timed out")
    check(event.is_set(), "it is not set")
    right()


if __name__ == "__main__":
    main()

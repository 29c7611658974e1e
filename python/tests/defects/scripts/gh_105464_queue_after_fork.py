"""#105464: a fork breaks a queue in use: its thread is missing in the child, and its lock may be held.

So messages that the child puts never arrive, or its `put` hangs.
"""

import os
import queue as threads
import signal
import threading
import time

from _common import PATIENCE, check, ctx, right, wrong

FORKS = 20


def main():
    queue, ended = ctx.Queue(), threading.Event()

    def chatter():
        while not ended.is_set():
            queue.put("chatter")
            time.sleep(0.0005)

    thread = threading.Thread(target=chatter, daemon=True)
    thread.start()
    children = []
    for number in range(FORKS):
        pid = os.fork()
        if pid == 0:
            signal.alarm(int(2 * PATIENCE))
            try:
                queue.put(number)
                queue.close()
                queue.join_thread()
            finally:
                os._exit(0)
        children.append(pid)

    missing, deadline = set(range(FORKS)), time.monotonic() + PATIENCE
    while missing and time.monotonic() < deadline:
        try:
            item = queue.get(timeout=0.1)
        except threads.Empty:
            continue
        if item != "chatter":
            check(item in missing, f"{item!r} has arrived, which was not sent, or before")
            missing.remove(item)
    ended.set()
    if missing:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        wrong(f"of {FORKS} forked processes {len(missing)} put something that did not arrive")
    for pid in children:
        _, status = os.waitpid(pid, 0)
        check(status == 0, f"a forked process ended with {os.waitstatus_to_exitcode(status)}")
    thread.join()
    right()


if __name__ == "__main__":
    main()

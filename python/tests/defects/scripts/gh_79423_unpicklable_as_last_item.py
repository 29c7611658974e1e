"""#79423: the last object that a process puts cannot be pickled: no error is reported, and its slot is lost.

The report is suppressed because the process is about to end, and a bounded queue stays full for ever.
"""

import os
import queue as threads
import sys
import tempfile
import time

from _common import PATIENCE, check, ctx, right, start, within, wrong


class Sour:
    def __reduce__(self):
        time.sleep(0.5)
        raise ArithmeticError("this cannot be pickled")


def producer(queue, path):
    # The report goes to sys.stderr; this is where the parent can read it.
    sys.stderr = open(path, "w")
    queue.put(Sour())


def main():
    queue = ctx.Queue(1)
    descriptor, path = tempfile.mkstemp()
    try:
        process = start(producer, queue, path)
        process.join(PATIENCE)
        check(process.exitcode == 0, f"exit code {process.exitcode}")
        with open(descriptor) as file:
            report = file.read()
    finally:
        os.unlink(path)
    try:
        queue.put("bun", True, PATIENCE - 1)
    except threads.Full:
        wrong(f"the queue is full of an item that was dropped; reported was {report!r}")
    got = within(queue.get, what="get")
    check(got == "bun", f"got {got!r}")
    check(
        "ArithmeticError: this cannot be pickled" in report,
        f"the dropped item was not reported, only {report!r}",
    )
    right()


if __name__ == "__main__":
    main()

"""#91776: a process is forked while a thread writes to sys.stdout: the child hangs at its end, flushing sys.stdout.

The thread holds the lock of the stream's buffer, and in the child no thread is left to release it.
"""

import os
import sys
import threading
import time

from _common import PATIENCE, check, right, start


def child():
    pass


def main():
    # sys.stdout becomes a pipe that is not read yet: a thread that writes to it waits, and holds the buffer's lock.
    reader, writer = os.pipe()
    real = os.dup(1)
    os.dup2(writer, 1)
    os.close(writer)
    sys.stdout = open(1, "w", closefd=False)  # with a buffer, even if PYTHONUNBUFFERED asks for none
    writing = threading.Event()

    def chatter():
        writing.set()
        sys.stdout.write("chatter " * (64 << 10))
        sys.stdout.flush()

    thread = threading.Thread(target=chatter, daemon=True)

    def drain():
        while os.read(reader, 1 << 16):
            pass

    # Between the flush that every start of a process begins with, and the fork: the moment that does the harm.
    def before_fork():
        if not thread.ident:
            thread.start()
            writing.wait()
            time.sleep(0.3)

    os.register_at_fork(before=before_fork)
    process = start(child)
    was_writing = thread.is_alive()
    threading.Thread(target=drain, daemon=True).start()
    if was_writing:
        thread.join(PATIENCE)
    process.join(PATIENCE)
    os.dup2(real, 1)
    check(was_writing, "no thread was writing when the process was forked")
    check(process.exitcode is not None, "the child hangs at its end")
    check(process.exitcode == 0, f"exit code {process.exitcode}")
    right()


if __name__ == "__main__":
    main()

"""#82300: a process attaches to shared memory and ends; the resource tracker unlinks memory in use."""

import time

from _common import PATIENCE, check, ctx, received, right, start, sub, wrong

SharedMemory = sub("shared_memory").SharedMemory


def visitor(connection):
    name = connection.recv()
    memory = SharedMemory(name)
    memory.buf[0] += 1
    memory.close()
    connection.send("done")


def main():
    mine, theirs = ctx.Pipe()
    # The process is there before the memory, so whatever keeps watch over names for it is its own.
    process = start(visitor, theirs)
    memory = SharedMemory(create=True, size=4096)
    try:
        memory.buf[0] = 41
        mine.send(memory.name)
        received(mine, "the process that attaches")
        process.join(PATIENCE)
        check(process.exitcode == 0, f"exit code {process.exitcode}")
        for _ in range(15):
            time.sleep(0.1)
            try:
                again = SharedMemory(memory.name)
            except FileNotFoundError:
                wrong("the shared memory is gone, though its maker uses it")
            check(again.buf[0] == 42, f"there is {again.buf[0]} in it")
            again.close()
        # Another process still finds it.
        process = start(visitor, theirs)
        mine.send(memory.name)
        received(mine, "a second process that attaches")
        process.join(PATIENCE)
        check(memory.buf[0] == 43, f"there is {memory.buf[0]} in it")
    finally:
        memory.close()
        try:
            memory.unlink()
        except FileNotFoundError:
            pass
    right()


if __name__ == "__main__":
    main()

"""#84559: a process is forked while a thread of its parent holds a lock of the library: the child hangs in the library.

Here threads make locks, queues and shared memory while children are forked that make some too.
"""

import threading

from _common import PATIENCE, check, ctx, right, start, sub, wrong

CHILDREN = 100
SharedMemory = sub("shared_memory").SharedMemory


def use_some(memory):
    with ctx.Lock(), ctx.RLock(), ctx.Semaphore(), ctx.Condition():
        queue = ctx.SimpleQueue()
        queue.put("bun")
        queue.get()
    memory.buf[0] = 1
    memory.close()


def child(shared, name):
    use_some(SharedMemory(name))
    shared.put("ours")


def outcome(memory):
    shared = ctx.SimpleQueue()
    for number in range(CHILDREN):
        process = start(child, shared, memory.name)
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            return f"child {number + 1} hangs"
        if process.exitcode != 0:
            return f"child {number + 1} has exit code {process.exitcode}"
        check(shared.get() == "ours", "something else")
    return None


def main():
    ended = threading.Event()

    def make():
        while not ended.is_set():
            memory = SharedMemory(create=True, size=4096)
            use_some(memory)
            memory.unlink()

    memory = SharedMemory(create=True, size=4096)
    threads = [threading.Thread(target=make, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    failed = outcome(memory)
    ended.set()
    for thread in threads:
        thread.join(PATIENCE)
        check(not thread.is_alive(), "a thread of the parent hangs")
    memory.close()
    memory.unlink()
    if failed:
        wrong(failed)
    right()


if __name__ == "__main__":
    main()

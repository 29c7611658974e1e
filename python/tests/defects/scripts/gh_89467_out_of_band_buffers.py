"""#89467: a large buffer is copied into the pickle, and again on its way, because protocol 5 is not asked for.

Right: the object is asked to reduce itself with protocol 5, and its buffer travels beside the pickle: neither side
allocates another copy of it while it pickles.
"""

import pickle
import tracemalloc

from _common import PATIENCE, check, ctx, received, right, start

SIZE = 32 << 20
protocols = []


class Table:
    """Offers its buffer out of band to picklers that support it, as a NumPy array does."""

    def __init__(self, buffer):
        self.buffer = buffer

    def __reduce_ex__(self, protocol):
        protocols.append(protocol)
        if protocol >= 5:
            return Table, (pickle.PickleBuffer(self.buffer),)
        return Table, (bytes(self.buffer),)


def consumer(ready, queue):
    tracemalloc.start()
    ready.send(None)
    for _ in range(2):
        table = queue.get()
        buffer = memoryview(getattr(table, "buffer", table))
        answer = (buffer.nbytes, bytes(buffer[:4]), bytes(buffer[-4:]), tracemalloc.get_traced_memory()[1])
        del table, buffer
        ready.send(answer)
        tracemalloc.reset_peak()


def main():
    queue = ctx.Queue()
    mine, theirs = ctx.Pipe()
    process = start(consumer, theirs, queue)
    received(mine, "a process that starts")

    data = bytearray(SIZE)
    data[:4], data[-4:] = b"head", b"tail"
    tracemalloc.start()
    for what, item in (("an object with a buffer", Table(data)), ("bytes", bytes(data))):
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        queue.put(item)
        size, head, tail, theirs_peak = received(mine, what)
        peak = tracemalloc.get_traced_memory()[1] - before
        check((size, head, tail) == (SIZE, b"head", b"tail"), f"{what}: it has not arrived as it was sent")
        if isinstance(item, Table):
            check(protocols == [5], f"{what}: it was asked for protocol {protocols}, not once for 5")
        check(peak < SIZE // 4, f"{what}: the sender allocated {peak >> 20} MiB to send {SIZE >> 20} MiB")
        check(
            theirs_peak < SIZE + SIZE // 4,
            f"{what}: the receiver allocated {theirs_peak >> 20} MiB to receive {SIZE >> 20} MiB",
        )
    process.join(PATIENCE)
    check(process.exitcode == 0, f"exit code {process.exitcode}")
    right()


if __name__ == "__main__":
    main()

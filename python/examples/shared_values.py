"""Numbers in shared memory: `Value` and `Array`.

`value.value += 1` reads and then writes, so two processes can lose a step between them. `get_lock()` is the lock that
comes with each value and array.
"""

import argparse
import ctypes
from multiprocessing import Array, Process, RLock, Value, get_all_start_methods, set_start_method

WORKERS = 4
STEPS = 500


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_double), ("y", ctypes.c_double)]


def work(number, counter, total, histogram, name, points, flags):
    for step in range(STEPS):
        with counter.get_lock():
            counter.value += 1
        with histogram.get_lock():
            histogram[step % len(histogram)] += 1
    with total.get_lock():
        total.value += number / 2
    with name.get_lock():
        name.value = name.value.upper()
    points[number].x, points[number].y = number, number * number
    flags[number] = 1  # each worker has a place of its own, so there is no need for a lock


def main():
    counter = Value("i", 0)
    total = Value("d", 0.0, lock=RLock())  # a lock of your own; it must be one that its owner can take again
    histogram = Array("i", 5)
    name = Array("c", b"shared memory")
    points = Array(Point, [(0, 0)] * WORKERS)
    flags = Array("b", WORKERS, lock=False)

    arguments = counter, total, histogram, name, points, flags
    workers = [Process(target=work, args=(n, *arguments)) for n in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    print("counter:", counter.value)
    print("total:", total.value)
    print("histogram:", histogram[:], "of", len(histogram))
    print("name:", name.value.decode())
    print("points:", [(point.x, point.y) for point in points])
    print("flags:", list(flags))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Values and arrays in shared memory.")
    parser.add_argument("--method", choices=get_all_start_methods())
    method = parser.parse_args().method
    if method:
        set_start_method(method)
    main()

"""The cases that are measured.

Every case does the same for all contenders. The processes first meet at a barrier (the standard library's,
for every contender). The time runs from there until the parent, which is the consumer, has everything.
"""

import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from statistics import median
from time import perf_counter

from contenders import FASTER_FIFO, MIB, PROCESSION, STANDARD
from meeting import barrier_round, condition_round_trip, event_round_trip
from team import children, timed_trips

KIB = 1 << 10

EVERYBODY = (STANDARD, FASTER_FIFO, PROCESSION)
DROP_IN = (STANDARD, PROCESSION)

# A queue of arrays holds this many, as one between a loader and its consumer would.
ARRAYS_IN_QUEUE = 8


@dataclass(frozen=True)
class Figure:
    """A number that a measurement returns, and Procession's target for it.

    `times` is how many times better than the standard library it should be, `margin` how much worse it may
    be.
    """

    unit: str
    name: str = ""
    less_is_better: bool = False
    times: float | None = None
    margin: float | None = None


@dataclass(frozen=True)
class Case:
    """`run` takes a contender, a start method and an amount of work, and returns the seconds that it took and
    the figures.

    The search for an amount of work that takes long enough begins at `work`; if `fixed`, `work` is the amount
    itself.
    """

    name: str
    figures: tuple[Figure, ...]
    run: Callable
    work: int
    contenders: tuple[str, ...] = EVERYBODY
    fixed: bool = False
    needs_numpy: bool = False


# Messages in one direction.


def an_int(i):
    return i


def a_dict(i):
    return {"id": i, "name": "bun", "price": 1.5, "tags": ["a", "b"]}


def produce(queue, start, count, message):
    put = queue.put
    if message is an_int:
        start.wait()
        for i in range(count):
            put(i)
    else:
        start.wait()
        for i in range(count):
            put(message(i))


def one_way(contender, method, count, *, maxsize=0, producers=1, message=an_int):
    """Sends `count` messages from one or more producers to the parent."""
    context = contender.context(method)
    queue = contender.queue(context, maxsize)
    start = multiprocessing.get_context(method).Barrier(producers + 1)
    share = max(1, count // producers)
    count = share * producers
    with children(context, produce, [(queue, start, share, message)] * producers):
        get = queue.get
        start.wait()
        begin = perf_counter()
        for _ in range(count):
            last = get()
        seconds = perf_counter() - begin
    if producers == 1 and last != message(count - 1):
        raise AssertionError(f"the last message is {last!r}")
    return seconds, [count / seconds / 1e3]


# There and back.


def echo(there, back, start):
    start.wait()
    while (message := there.get()) is not None:
        back.put(message)


def round_trip(contender, method, count):
    """Sends a message to the child and back, and then the next."""
    context = contender.context(method)
    there, back = contender.queue(context), contender.queue(context)
    start = multiprocessing.get_context(method).Barrier(2)
    with children(context, echo, [(there, back, start)]):
        put, get = there.put, back.get
        start.wait()

        def trip(i):
            put(i)
            get()

        answer = timed_trips(trip, count)
        put(None)
    return answer


def echo_pipe(conn, start):
    start.wait()
    while (message := conn.recv()) is not None:
        conn.send(message)


def pipe_round_trip(contender, method, count, *, message=an_int):
    """Does the same through a bidirectional pipe."""
    context = contender.context(method)
    ours, theirs = context.Pipe()
    start = multiprocessing.get_context(method).Barrier(2)
    with children(context, echo_pipe, [(theirs, start)]):
        send, recv = ours.send, ours.recv

        def trip(i):
            send(message(i))
            recv()

        start.wait()
        answer = timed_trips(trip, count)
        send(None)
    return answer


def send_bytes(conn, start, count, size):
    block = bytes(size)
    start.wait()
    for _ in range(count):
        conn.send_bytes(block)


def pipe_bytes(contender, method, count, *, size):
    """Sends blocks of bytes from a child to the parent."""
    context = contender.context(method)
    ours, theirs = context.Pipe()
    start = multiprocessing.get_context(method).Barrier(2)
    with children(context, send_bytes, [(theirs, start, count, size)]):
        start.wait()
        begin = perf_counter()
        for _ in range(count):
            last = ours.recv_bytes()
        seconds = perf_counter() - begin
    if len(last) != size:
        raise AssertionError(f"the last block has {len(last)} bytes")
    return seconds, [count * size / seconds / 1e9]


# Arrays.


def produce_arrays(queue, start, count, size):
    array = an_array(size)
    put = queue.put
    start.wait()
    for _ in range(count):
        put(array)


def an_array(size):
    import numpy

    return numpy.arange(1, size // 8 + 1, dtype=numpy.float64)


def arrays(contender, method, count, *, size, zero_copy=False):
    """Sends arrays of `size` bytes; the consumer reads the first and the last element."""
    import numpy  # noqa: F401  (before the fork, so that the child has it)

    context = contender.context(method)
    make = contender.zero_copy_queue if zero_copy else contender.queue
    queue = make(context, ARRAYS_IN_QUEUE, size)
    start = multiprocessing.get_context(method).Barrier(2)
    length, right = size // 8, 0
    with children(context, produce_arrays, [(queue, start, count, size)]):
        get = queue.get
        start.wait()
        begin = perf_counter()
        for _ in range(count):
            array = get()
            right += array[0] == 1 and array[-1] == length
        seconds = perf_counter() - begin
        del array
    if right != count:
        raise AssertionError(f"{count - right} of {count} arrays are not what was sent")
    return seconds, [count * size / seconds / 1e9]


# Locks.


def uncontended(contender, method, count):
    """Takes a lock without contention. The loop itself (some nanoseconds) is part of the figure."""
    lock = contender.lock(contender.context(method))
    begin = perf_counter()
    for _ in repeat(None, count):
        with lock:
            pass
    seconds = perf_counter() - begin
    return seconds, [seconds / count * 1e9]


def contend(lock, start, seconds, rates, place):
    count = 0
    start.wait()
    begin = perf_counter()
    while (elapsed := perf_counter() - begin) < seconds:
        for _ in repeat(None, 100):
            with lock:
                pass
        count += 100
    rates[place] = count / elapsed


def contended(contender, method, milliseconds):
    """Lets two processes take the lock as often as they can for a while; the figure is their sum."""
    context = contender.context(method)
    standard = multiprocessing.get_context(method)
    lock = contender.lock(context)
    start, rates = standard.Barrier(2), standard.RawArray("d", 2)
    seconds = milliseconds / 1e3
    with children(context, contend, [(lock, start, seconds, rates, place) for place in range(2)]):
        pass
    return seconds, [sum(rates) / 1e3]


# Values and arrays.


def setting(contender, method, count):
    """Sets a value without contention. Here and below the loop itself (some nanoseconds) is part of the
    figure.
    """
    value = contender.context(method).Value("i", 0)
    begin = perf_counter()
    for i in repeat(7, count):
        value.value = i
    seconds = perf_counter() - begin
    return seconds, [seconds / count * 1e9]


def getting(contender, method, count):
    value = contender.context(method).Value("i", 7)
    begin = perf_counter()
    for _ in repeat(None, count):
        value.value  # noqa: B018
    seconds = perf_counter() - begin
    return seconds, [seconds / count * 1e9]


def setting_elements(contender, method, count):
    array = contender.context(method).Array("d", 10)
    begin = perf_counter()
    for x in repeat(1.5, count):
        array[3] = x
    seconds = perf_counter() - begin
    return seconds, [seconds / count * 1e9]


def count_up(value, start, count):
    start.wait()
    for _ in repeat(None, count):
        with value.get_lock():
            value.value += 1


def counting_up(contender, method, count):
    """Lets two processes count up under the value's lock, as in the standard library's manual."""
    context = contender.context(method)
    start = multiprocessing.get_context(method).Barrier(3)
    value, share = context.Value("q", 0), max(1, count // 2)
    with children(context, count_up, [(value, start, share)] * 2):
        start.wait()
        begin = perf_counter()
    seconds = perf_counter() - begin
    if value.value != 2 * share:
        raise AssertionError(f"{value.value} of {2 * share} are counted")
    return seconds, [2 * share / seconds / 1e3]


# Imports.


def importing(contender, method, runs):
    """Returns the median import time of several fresh interpreters, without their own start."""
    program = f"from time import perf_counter as now; t = now(); import {contender.package}; print(now() - t)"
    command = [sys.executable, "-c", program]
    run = partial(subprocess.run, command, check=True, capture_output=True, text=True)
    run()  # the first may have to compile the modules
    times = [float(run().stdout) for _ in range(runs)]
    return sum(times), [median(times) * 1e3]


def messages(name, times, **how):
    return Case(name, (Figure("k/s", times=times),), partial(one_way, **how), work=2000)


def trips(name, times, run, contenders=EVERYBODY):
    figures = (
        Figure("µs", "p50", less_is_better=True, times=times),
        Figure("µs", "p99", less_is_better=True),
    )
    return Case(name, figures, run, work=500, contenders=contenders)


def lots(name, size, times, work, zero_copy=False):
    return Case(
        name,
        (Figure("GB/s", times=times),),
        partial(arrays, size=size, zero_copy=zero_copy),
        work,
        contenders=DROP_IN if zero_copy else EVERYBODY,
        needs_numpy=True,
    )


def nanoseconds(name, times, run):
    figure = Figure("ns", less_is_better=True, times=times)
    return Case(name, (figure,), run, work=20_000, contenders=DROP_IN)


CASES = {
    case.name: case
    for case in (
        messages("int, 1:1", 20),
        messages("int, 1:1, bounded to 1000", 20, maxsize=1000),
        messages("int, 4 producers", 20, producers=4),
        messages("small dict, 1:1", 6, message=a_dict),
        trips("round trip", 50, round_trip),
        trips("pipe round trip, int", 3, pipe_round_trip, DROP_IN),
        trips("pipe round trip, small dict", 3, partial(pipe_round_trip, message=a_dict), DROP_IN),
        Case(
            "pipe, blocks of 1 MiB",
            (Figure("GB/s"),),
            partial(pipe_bytes, size=MIB),
            work=100,
            contenders=DROP_IN,
        ),
        lots("array of 64 KiB", 64 * KIB, 6, 200),
        lots("array of 1 MiB", MIB, 10, 20),
        lots("array of 16 MiB", 16 * MIB, 10, 3),
        lots("array of 64 KiB, zero-copy", 64 * KIB, None, 200, zero_copy=True),
        lots("array of 1 MiB, zero-copy", MIB, 20, 20, zero_copy=True),
        lots("array of 16 MiB, zero-copy", 16 * MIB, None, 3, zero_copy=True),
        nanoseconds("lock, uncontended", 1.5, uncontended),
        Case(
            "lock, 2 processes",
            (Figure("k/s", times=3),),
            contended,
            work=500,
            contenders=DROP_IN,
            fixed=True,
        ),
        trips("event, set and wait, there and back", 5, event_round_trip, DROP_IN),
        trips("condition, notify and wait, there and back", 5, condition_round_trip, DROP_IN),
        trips("barrier of 4", 5, barrier_round, DROP_IN),
        nanoseconds("value, set", 2, setting),
        nanoseconds("value, get", None, getting),
        nanoseconds("array, element set", 2, setting_elements),
        Case(
            "value += 1, 2 processes",
            (Figure("k/s"),),
            counting_up,
            work=20_000,
            contenders=DROP_IN,
        ),
        Case(
            "import",
            (Figure("ms", less_is_better=True, margin=10),),
            importing,
            work=20,
            contenders=DROP_IN,
            fixed=True,
        ),
    )
}

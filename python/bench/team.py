"""The children of a measurement, and round trips that are timed one by one."""

from contextlib import contextmanager
from time import perf_counter_ns

# Trips before the ones that count.
WARM_UP = 200


@contextmanager
def children(context, function, arguments):
    """Starts a child for each tuple of arguments. At the end it joins them, and all must have succeeded."""
    team = [context.Process(target=function, args=each) for each in arguments]
    for child in team:
        child.start()
    yield
    for child in team:
        child.join()
    if bad := [child.exitcode for child in team if child.exitcode != 0]:
        raise AssertionError(f"exit codes of the children: {bad}")


def timed_trips(trip, count):
    """Returns the total seconds of `count` round trips, and the figures: the median and the 99th
    percentile.
    """
    for i in range(WARM_UP):
        trip(i)
    times = [0] * count
    for i in range(count):
        begin = perf_counter_ns()
        trip(i)
        times[i] = perf_counter_ns() - begin
    times.sort()
    return sum(times) / 1e9, [times[count // 2] / 1e3, times[min(count - 1, count * 99 // 100)] / 1e3]

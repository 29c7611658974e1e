"""Events, conditions and barriers: the time to wake another process and be woken by it."""

import multiprocessing

from team import WARM_UP, children, timed_trips


def answer_events(there, back, start, count):
    start.wait()
    for _ in range(count):
        there.wait()
        there.clear()
        back.set()


def event_round_trip(contender, method, count):
    """Sets an event, which the child answers with another."""
    context = contender.context(method)
    there, back = context.Event(), context.Event()
    start = multiprocessing.get_context(method).Barrier(2)

    def trip(_):
        there.set()
        back.wait()
        back.clear()

    with children(context, answer_events, [(there, back, start, count + WARM_UP)]):
        start.wait()
        return timed_trips(trip, count)


def answer_calls(condition, turn, start, count):
    start.wait()
    for _ in range(count):
        with condition:
            while turn[0] != 1:
                condition.wait()
            turn[0] = 0
            condition.notify()


def condition_round_trip(contender, method, count):
    """Lets two processes take turns under one condition; a byte of shared memory says whose turn it is."""
    context = contender.context(method)
    condition = context.Condition()
    turn = multiprocessing.get_context(method).RawArray("b", 1)
    start = multiprocessing.get_context(method).Barrier(2)

    def trip(_):
        with condition:
            turn[0] = 1
            condition.notify()
            while turn[0] != 0:
                condition.wait()

    with children(context, answer_calls, [(condition, turn, start, count + WARM_UP)]):
        start.wait()
        return timed_trips(trip, count)


def pass_by(barrier, count):
    for _ in range(count):
        barrier.wait()


def barrier_round(contender, method, count):
    """Lets four processes meet at a barrier again and again."""
    context = contender.context(method)
    barrier = context.Barrier(4)
    with children(context, pass_by, [(barrier, count + WARM_UP)] * 3):
        return timed_trips(lambda _: barrier.wait(), count)

"""Events, conditions and barriers: how long it takes to wake somebody and be woken."""

import multiprocessing

from team import WARM_UP, children, timed_trips


def answer_events(there, back, start, count):
    start.wait()
    for _ in range(count):
        there.wait()
        there.clear()
        back.set()


def event_round_trip(contender, method, count):
    """An event is set, and the child answers with another."""
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
    """Two take turns under one condition; whose turn it is stands in a byte of shared memory."""
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
    """Four processes meet again and again."""
    context = contender.context(method)
    barrier = context.Barrier(4)
    with children(context, pass_by, [(barrier, count + WARM_UP)] * 3):
        return timed_trips(lambda _: barrier.wait(), count)

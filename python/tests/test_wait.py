"""`connection.wait`: queues, events, and objects with a descriptor, in any mixture."""

import os
import socket
import threading
import time

import pytest

import procession as mp
from procession.connection import wait

METHODS = ("fork", "spawn", "forkserver")


def test_what_is_ready_is_found_at_once_and_in_order():
    first, second, event = mp.Queue(), mp.SimpleQueue(), mp.Event()
    assert wait([first, second, event], 0) == []
    second.put(1)
    event.set()
    assert wait([event, first, second]) == [event, second]
    ends = [first._reader, second._reader]
    assert wait(ends, 5) == [ends[1]]
    assert second.get() == 1
    assert wait(ends, 0) == []


def test_nothing_to_wait_for():
    begin = time.monotonic()
    assert wait([], 0.05) == []
    assert time.monotonic() - begin >= 0.05


def test_deadline():
    begin = time.monotonic()
    assert wait([mp.Queue(), mp.Event()], 0.1) == []
    assert time.monotonic() - begin >= 0.1
    assert wait([mp.Queue()], -1) == []


def test_a_queue_that_was_shut_down_is_ready():
    queue = mp.Queue()
    queue.shutdown()
    assert wait([queue, mp.Event()]) == [queue]


def test_closed_ends_are_errors():
    queue = mp.SimpleQueue()
    end = queue._reader
    queue.close()
    with pytest.raises(OSError, match="handle is closed"):
        wait([end], 0)


def test_what_cannot_be_waited_for_is_an_error():
    with pytest.raises((ValueError, TypeError, AttributeError)):
        wait([mp.Event(), object()], 0)
    with pytest.raises(ValueError):
        wait([mp.Event(), -1], 0)


def put_later(queue, event, go):
    go.wait()
    queue.put("done")
    event.set()


@pytest.mark.parametrize("method", METHODS)
def test_another_process_makes_it_ready(method):
    context = mp.get_context(method)
    queues, events, go = (
        [context.Queue() for _ in range(20)],
        [context.Event() for _ in range(20)],
        context.Event(),
    )
    child = context.Process(target=put_later, args=(queues[7], events[3], go))
    child.start()
    assert wait([*queues, *events], 0.05) == []
    go.set()
    ready = wait([*queues, *events])
    assert ready and set(ready) <= {queues[7], events[3]}
    assert wait([events[3]]) == [events[3]]
    assert wait([queues[7]]) == [queues[7]]
    assert queues[7].get() == "done"
    assert wait([*queues, child.sentinel]) == [child.sentinel]
    child.join()


@pytest.mark.parametrize("with_event", [False, True])
def test_mixture(with_event):
    queue, (here, there), (reader, writer) = mp.Queue(), socket.socketpair(), mp.Pipe(duplex=False)
    process = mp.Process(target=time.sleep, args=(60,))
    process.start()
    things = [queue, here, reader, process.sentinel]
    event = mp.Event()
    if with_event:
        things.append(event)
    with here, there, reader, writer:
        assert wait(things, 0.05) == []
        later = threading.Timer(0.05, there.send, [b"x"])
        later.start()
        assert wait(things) == [here]
        here.recv(1)
        later = threading.Timer(0.05, queue.put, [1])
        later.start()
        assert wait(things) == [queue]
        queue.get()
        writer.send(2)
        assert wait(things) == [reader]
        reader.recv()
        if with_event:
            threading.Timer(0.05, event.set).start()
            assert wait(things) == [event]
            event.clear()
        process.kill()
        assert wait(things) == [process.sentinel]
    process.join()


def test_no_message_is_missed():
    queues = [mp.Queue() for _ in range(10)]
    total = 3000

    def produce(part):
        for n in range(part, total, 2):
            queues[n % 10].put(n)

    threads = [threading.Thread(target=produce, args=(part,)) for part in range(2)]
    for thread in threads:
        thread.start()
    seen = []
    while len(seen) < total:
        seen += [queue.get() for queue in wait(queues)]
    assert sorted(seen) == list(range(total))
    for thread in threads:
        thread.join()


def test_waiting_starts_no_thread():
    queue = mp.Queue()
    before = set(os.listdir("/proc/self/task"))
    assert wait([queue, mp.Event()], 0.01) == []
    assert wait([queue._reader], 0.01) == []
    # Those of other tests may end meanwhile.
    assert not set(os.listdir("/proc/self/task")) - before

"""Producers: a queue ends with the last one, in whichever process it is."""

import copy
import gc
import pickle
import queue
import textwrap
import threading

import pytest

import procession
from procession.queues import Producer, ShutDown

METHODS = ["fork", "spawn", "forkserver"]
MAKERS = [procession.Queue, procession.JoinableQueue, procession.SimpleQueue]
pytestmark = pytest.mark.watchdog(120)

PROLOGUE = """\
import os, queue, signal, sys, threading
import procession
from procession.queues import ShutDown
ctx = procession.get_context(sys.argv[1])

def rest(q):
    # Returns the messages of a queue until its end.
    found = []
    while True:
        try:
            found.append(q.get())
        except ShutDown:
            return found
"""


@pytest.fixture
def run(run_script):
    """Returns a function that runs a program with a start method as `ctx`, and asserts that it succeeds."""

    def run(method, text):
        result = run_script(PROLOGUE + textwrap.dedent(text), method)
        result.check()
        assert result.stdout == "well\n", result.stdout + result.stderr

    return run


def rest(q):
    """Returns the messages of a queue until its end."""
    found = []
    while True:
        try:
            found.append(q.get())
        except ShutDown:
            return found


def is_open(q):
    """Returns whether an empty queue may get more messages."""
    with pytest.raises((queue.Empty, ShutDown)) as caught:
        q.get(False)
    return caught.type is queue.Empty


@pytest.mark.smoke
@pytest.mark.parametrize("make", MAKERS)
def test_a_queue_ends_with_the_last(make):
    q = make()
    first, second = q.producer(), q.producer()
    assert isinstance(first, Producer)
    first.put(1)
    first.put_nowait([2])
    first.close()
    assert first.closed and not second.closed
    assert second.put_many([3, bytes(100_000)]) == 2
    second.close()
    assert rest(q) == [1, [2], 3, bytes(100_000)]
    with pytest.raises(ShutDown):
        q.put(4)
    with pytest.raises(ShutDown):
        q.producer()


def test_closed():
    q = procession.Queue()
    with q.producer() as other, q.producer() as producer:
        producer.close()
        producer.close()
        assert "closed" in repr(producer) and "closed" not in repr(other)
        for put in (lambda: producer.put(1), lambda: producer.put_nowait(1), lambda: producer.put_many([1])):
            with pytest.raises(ValueError, match="closed"):
                put()
        with pytest.raises(ValueError, match="closed"), producer:
            pass
        assert is_open(q)
    assert other.closed and not is_open(q)


def test_an_error_closes_it():
    q = procession.Queue()
    with pytest.raises(ZeroDivisionError), q.producer() as producer:
        producer.put(1)
        raise ZeroDivisionError
    assert rest(q) == [1]


def test_one_that_is_collected_is_closed():
    q = procession.Queue()
    producer = q.producer()
    assert is_open(q)
    del producer
    gc.collect()
    assert not is_open(q)


def test_bounds_and_time():
    q = procession.Queue(1)
    producer = q.producer()
    producer.put(1, timeout=10)
    for put in (
        lambda: producer.put_nowait(2),
        lambda: producer.put(2, False),
        lambda: producer.put(2, timeout=0.05),
        lambda: producer.put_many([2], timeout=0.05),
    ):
        with pytest.raises(queue.Full):
            put()
    assert q.get() == 1


def test_who_waits_is_told():
    q = procession.Queue()
    producer, ends = q.producer(), []
    threads = [threading.Thread(target=lambda: ends.append(rest(q))) for _ in range(3)]
    for thread in threads:
        thread.start()
    producer.put(1)
    producer.close()
    for thread in threads:
        thread.join()
    assert sorted(ends) == [[], [], [1]]


def test_the_queue_itself_does_not_count():
    q = procession.Queue()
    producer = q.producer()
    q.put(1)
    producer.close()
    assert rest(q) == [1]
    never = procession.Queue()
    never.put(1)
    assert never.get() == 1 and is_open(never)


def test_after_shutdown():
    q = procession.Queue()
    producer = q.producer()
    q.shutdown()
    with pytest.raises(ShutDown):
        producer.put(1)
    with pytest.raises(ShutDown):
        q.producer()
    producer.close()


def test_it_keeps_the_queue():
    producer = procession.Queue().producer()
    gc.collect()
    producer.put(1)


def test_one_cannot_be_stored():
    producer = procession.Queue().producer()
    for way in (pickle.dumps, copy.copy):
        with pytest.raises(RuntimeError, match="inheritance"):
            way(producer)
    producers = procession.Queue(strict=True)
    producer.close()
    with pytest.raises(ValueError, match="closed"):
        producers.put(producer)


def test_on_its_way_it_counts():
    q, producers = procession.Queue(), procession.Queue()
    with q.producer() as producer:
        producers.put(producer)
        producers.put(producer)
    assert is_open(q)
    with producers.get() as producer:
        producer.put(1)
    assert q.get() == 1 and is_open(q)
    # No process gets this producer from its queue.
    producers.shutdown(immediate=True)
    assert not is_open(q)


def test_through_a_pipe(pipe):
    q = procession.Queue()
    reader, writer = pipe
    with q.producer() as producer:
        writer.send(producer)
        with reader.recv() as another:
            another.put(1)
    assert rest(q) == [1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("make", ["Queue", "JoinableQueue", "SimpleQueue"])
def test_processes_have_them(run, make, method):
    """A child's copy counts until the child closes it or ends."""
    run(
        method,
        f"""
        def count(producer, to, closes):
            producer.put_many(range(to))
            if closes:
                producer.close()

        if __name__ == "__main__":
            q = ctx.{make}()
            with q.producer() as producer:
                children = [ctx.Process(target=count, args=(producer, 100, closes)) for closes in (True, False)]
                for child in children:
                    child.start()
            assert sorted(rest(q)) == sorted([*range(100)] * 2)
            for child in children:
                child.join()
                assert child.exitcode == 0
            print("well")
        """,
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_childs_copy_counts(run, method):
    """The queue goes on while a child has a copy and its parent has none."""
    run(
        method,
        """
        def wait(producer, go):
            go.get()
            producer.put("late")
            producer.close()
            go.get()

        if __name__ == "__main__":
            q, go = ctx.Queue(), ctx.Queue()
            producer = q.producer()
            child = ctx.Process(target=wait, args=(producer, go))
            child.start()
            producer.close()
            try:
                q.get(timeout=0.1)
            except queue.Empty:
                pass
            go.put(1)
            # It has closed its copy, and goes on.
            assert rest(q) == ["late"]
            assert child.is_alive()
            go.put(2)
            child.join()
            print("well")
        """,
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "end", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(0)", "raise SystemExit(3)"]
)
def test_one_whose_process_ends_is_gone(run, end, method):
    """No process joins it or asks for its state; its last messages arrive, and then the end."""
    run(
        method,
        f"""
        def work(producer):
            producer.put_many([1, 2])
            producer.put(b"x" * 50_000)
            {end}

        if __name__ == "__main__":
            q = ctx.Queue()
            with q.producer() as producer:
                ctx.Process(target=work, args=(producer,)).start()
            assert rest(q) == [1, 2, b"x" * 50_000]
            print("well")
        """,
    )


@pytest.mark.parametrize("method", METHODS)
def test_one_that_is_killed_leaves_the_others(run, method):
    run(
        method,
        """
        def work(producer):
            while True:
                producer.put(os.getpid())

        def others(producer, go):
            go.get()
            producer.put("other")

        if __name__ == "__main__":
            q, go = ctx.Queue(100), ctx.Queue()
            with q.producer() as producer:
                victim = ctx.Process(target=work, args=(producer,))
                other = ctx.Process(target=others, args=(producer, go))
                victim.start()
                other.start()
            assert q.get() == victim.pid
            victim.kill()
            victim.join()
            while not q.empty():
                assert q.get() == victim.pid
            go.put(1)
            assert rest(q) == ["other"]
            other.join()
            print("well")
        """,
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_pools_workers_may_have_them(run, method):
    run(
        method,
        """
        def add(producer, n):
            producer.put(n)

        if __name__ == "__main__":
            q = ctx.Queue()
            with ctx.Pool(2) as pool:
                with q.producer() as producer:
                    pool.starmap(add, [(producer, n) for n in range(10)])
                assert sorted(rest(q)) == [*range(10)]
            print("well")
        """,
    )


def test_a_forked_childs_copies_are_its_own(run):
    """Closing copies that were not passed to it ends only the child's copies, and the parent goes on."""
    run(
        "fork",
        """
        def consume(q, results):
            producer.close()
            results.put(rest(q))

        if __name__ == "__main__":
            q, results = ctx.Queue(), ctx.Queue()
            producer = q.producer()
            child = ctx.Process(target=consume, args=(q, results))
            child.start()
            producer.put(1)
            producer.close()
            assert results.get() == [1]
            child.join()
            print("well")
        """,
    )

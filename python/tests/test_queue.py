"""Queues: the promises of the standard library, and those beyond it."""

import multiprocessing
import os
import pickle
import queue
import select
import textwrap
import threading
import time

import pytest

import procession
from procession import _engine, queues
from procession.connection import wait

METHODS = ["fork", "spawn", "forkserver"]
pytestmark = pytest.mark.watchdog(120)

BIG = 1 << 20
UNPICKLABLE = threading.Lock()

PROLOGUE = """\
import os, queue, signal, sys, threading, time
import procession
from procession.queues import ShutDown, ConsumerDied
ctx = procession.get_context(sys.argv[1])
"""


@pytest.fixture
def run(run_script):
    """Returns a function that runs a program with a start method as `ctx`, and asserts that it succeeds."""

    def run(method, text, **options):
        result = run_script(PROLOGUE + textwrap.dedent(text), method, **options)
        result.check()
        return result.stdout

    return run


class Late:
    """Calls a function soon, in a thread; used as a context, whose end waits for the thread."""

    def __init__(self, function, *args, after=0.1):
        self.timer = threading.Timer(after, function, args)

    def __enter__(self):
        self.timer.start()

    def __exit__(self, *_):
        self.timer.join()


def seconds(function, *args, **options):
    """Returns the exception of a call, and the seconds that it took."""
    start = time.monotonic()
    with pytest.raises((queue.Empty, queue.Full)) as caught:
        function(*args, **options)
    return caught.type, time.monotonic() - start


def drain(q):
    """Returns all messages of a queue that no other process uses."""
    found = []
    while not q.empty():
        found += q.get_many(1000)
    return found


# Full and empty


@pytest.mark.smoke
@pytest.mark.parametrize("make", [procession.Queue, procession.JoinableQueue])
def test_full(make):
    q = make(2)
    q.put(1)
    assert not q.full()
    q.put(2)
    assert q.full() and q.qsize() == 2 and not q.empty()
    with pytest.raises(queue.Full):
        q.put_nowait(3)
    with pytest.raises(queue.Full):
        q.put(3, False)
    with pytest.raises(queue.Full):
        q.put(3, block=False, timeout=1000)
    assert [q.get(), q.get()] == [1, 2]
    assert q.empty() and q.qsize() == 0


@pytest.mark.smoke
@pytest.mark.parametrize("make", [procession.Queue, procession.JoinableQueue])
def test_empty(make):
    q = make()
    assert q.empty() and not q.full()
    with pytest.raises(queue.Empty):
        q.get_nowait()
    with pytest.raises(queue.Empty):
        q.get(False)
    with pytest.raises(queue.Empty):
        q.get(block=False, timeout=1000)


@pytest.mark.parametrize("timeout, least", [(0.2, 0.2), (0, 0), (-1, 0), (-0.0, 0), (float("-inf"), 0)])
def test_timeouts(timeout, least):
    full, empty = procession.Queue(1), procession.Queue()
    full.put(0)
    for kind, call in (
        (queue.Full, lambda: full.put(1, True, timeout)),
        (queue.Full, lambda: full.put(bytes(BIG), timeout=timeout)),
        (queue.Full, lambda: full.put_many([1, 2], timeout=timeout)),
        (queue.Empty, lambda: empty.get(True, timeout)),
        (queue.Empty, lambda: empty.get_many(3, timeout=timeout)),
    ):
        raised, took = seconds(call)
        assert raised is kind
        assert took >= least
    assert full.qsize() == 1 and full.get() == 0


@pytest.mark.parametrize("timeout", [None, 1000, 1e300, float("inf")])
def test_waits_until_it_comes(timeout):
    q = procession.Queue(1)
    with Late(q.put, "late"):
        assert q.get(timeout=timeout) == "late"
    q.put("first")
    with Late(q.get):
        q.put("second", timeout=timeout)
    assert q.get() == "second"


@pytest.mark.parametrize("maxsize", [0, -1, -100])
def test_no_bound(maxsize):
    q = procession.Queue(maxsize)
    assert q.put_many(range(10_000), block=False) == 10_000
    assert q.qsize() == 10_000 and not q.full()
    assert [q.get(timeout=10) for _ in range(10_000)] == list(range(10_000))


def test_maxsize_as_the_standard_library_has_it():
    for maxsize in (-1, 0, 1, 7):
        assert procession.Queue(maxsize)._maxsize == multiprocessing.Queue(maxsize)._maxsize


def test_a_bound_that_is_none():
    with pytest.raises(TypeError):
        procession.Queue("3")
    with pytest.raises(TypeError):
        procession.Queue().get(timeout="3")


def test_classes():
    assert type(procession.Queue()) is queues.Queue
    assert issubclass(queues.JoinableQueue, queues.Queue)
    assert isinstance(procession.SimpleQueue(), queues.SimpleQueue)
    assert queues.Queue[int].__origin__ is queues.Queue
    assert type(queues.Queue(3, ctx=procession.get_context("fork"))) is queues.Queue


# Closing


@pytest.mark.parametrize("make", [procession.Queue, procession.JoinableQueue])
def test_close(make):
    q = make()
    q.put(1)
    q.close()
    q.close()
    for call in (
        lambda: q.put(2),
        q.get,
        lambda: q.put_nowait(2),
        q.get_nowait,
        lambda: q.put_many([2]),
        lambda: q.get_many(1),
    ):
        with pytest.raises(ValueError, match="is closed"):
            call()
    q.join_thread()


def test_join_thread_before_close():
    q = procession.Queue()
    with pytest.raises(AssertionError, match="not closed"):
        q.join_thread()
    q.cancel_join_thread()
    q.put(1)
    assert q.get() == 1


def test_close_simple_queue():
    q = procession.SimpleQueue()
    q.put(1)
    q.close()
    for call in (lambda: q.put(2), q.get, q.empty):
        with pytest.raises(OSError, match="closed"):
            call()


@pytest.mark.parametrize("method", METHODS)
def test_closed_here_is_open_there(run, method):
    run(
        method,
        """
        def child(q, back):
            back.put(q.get())
        if __name__ == "__main__":
            q, back = ctx.Queue(), ctx.Queue()
            q.put("x")
            p = ctx.Process(target=child, args=(q, back))
            p.start()
            q.close()
            assert back.get(timeout=30) == "x"
            p.join()
            assert p.exitcode == 0
        """,
    )


# Several at once


@pytest.mark.smoke
def test_many():
    q = procession.Queue()
    assert q.put_many([]) == 0
    assert q.put_many(iter(range(1000))) == 1000
    assert q.get_many(10) == list(range(10))
    rest = q.get_many(100_000)
    while len(rest) < 990:
        rest += q.get_many(100_000, timeout=10)
    assert rest == list(range(10, 1000))
    assert q.empty()


def test_many_with_large_objects_between():
    q = procession.Queue()
    objects = [i if i % 3 else bytes([i % 256]) * (20_000 + i) for i in range(50)]
    objects += ["ä" * 100_000, {"large": list(range(10_000))}, None]
    assert q.put_many(objects) == len(objects)
    received = []
    while len(received) < len(objects):
        received += q.get_many(7, timeout=10)
    assert received == objects


def test_put_many_has_put_those_before():
    q = procession.Queue(3)
    with pytest.raises(queue.Full):
        q.put_many("abcdef", timeout=0.05)
    assert q.get_many(10) == ["a", "b", "c"]
    with pytest.raises(queue.Full):
        q.put_many([1, bytes(BIG), 3, bytes(BIG), 5], block=False)
    assert q.get_many(10) == [1, bytes(BIG), 3]


def test_put_many_waits_for_room():
    q = procession.Queue(5)
    thread = threading.Thread(target=q.put_many, args=(range(2000),))
    thread.start()
    received = []
    while len(received) < 2000:
        received += q.get_many(4, timeout=30)
    thread.join()
    assert received == list(range(2000))


def test_many_errors():
    q = procession.Queue()
    with pytest.raises(ValueError, match="at least one"):
        q.get_many(0)
    with pytest.raises((OverflowError, ValueError)):
        q.get_many(-1)
    with pytest.raises(TypeError):
        q.put_many(3)
    assert q.empty()


def test_put_many_with_an_iterable_that_fails():
    def failing():
        yield from range(600)
        raise KeyError("enough")

    q = procession.Queue()
    with pytest.raises(KeyError, match="enough"):
        q.put_many(failing())
    # No more than it gave, and in order.
    received = drain(q)
    assert received == list(range(len(received))) and len(received) <= 600
    q.put("next")
    assert q.get(timeout=10) == "next"


def test_put_many_with_an_object_that_fails():
    q = procession.Queue(strict=True)  # type: ignore[call-arg]
    with pytest.raises(Exception, match="pickle"):
        q.put_many([1, 2, UNPICKLABLE, 4])
    received = drain(q)
    assert received == [1, 2][: len(received)]


# Shutdown


def test_shutdown_is_the_standard_librarys():
    expected = getattr(queue, "ShutDown", None)
    assert expected is None or queues.ShutDown is expected


@pytest.mark.smoke
def test_shutdown():
    q = procession.Queue()
    q.put(1)
    q.put(bytes(BIG))
    q.shutdown()
    q.shutdown()
    for call in (
        lambda: q.put(2),
        lambda: q.put_nowait(2),
        lambda: q.put_many([2]),
        lambda: q.put(bytes(BIG)),
    ):
        with pytest.raises(queues.ShutDown):
            call()
    assert q.get() == 1
    assert q.get_many(5) == [bytes(BIG)]
    for call in (q.get, q.get_nowait, lambda: q.get(timeout=0.1), lambda: q.get_many(2)):
        with pytest.raises(queues.ShutDown):
            call()


def test_shutdown_immediate():
    q = procession.Queue(5)
    q.put_many([1, bytes(BIG), 3])
    q.shutdown(immediate=True)
    for call in (q.get, q.get_nowait, lambda: q.put(1), lambda: q.get_many(2)):
        with pytest.raises(queues.ShutDown):
            call()


@pytest.mark.parametrize("immediate", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_shutdown_wakes_everybody(run, method, immediate):
    run(
        method,
        f"""
        def putter(full, result):
            try:
                full.put("more")
            except ShutDown:
                result.put("put")
        def getter(empty, result):
            try:
                empty.get()
            except ShutDown:
                result.put("get")
        if __name__ == "__main__":
            full, empty, result = ctx.Queue(1), ctx.Queue(), ctx.Queue()
            full.put("there")
            children = [ctx.Process(target=t, args=(q, result))
                        for t, q in ((putter, full), (getter, empty), (putter, full), (getter, empty))]
            for p in children:
                p.start()
            threads = [threading.Thread(target=t, args=(q, result)) for t, q in ((putter, full), (getter, empty))]
            for t in threads:
                t.start()
            time.sleep(0.5)
            full.shutdown({immediate})
            empty.shutdown({immediate})
            assert sorted(result.get(timeout=30) for _ in range(6)) == ["get"] * 3 + ["put"] * 3
            for p in children + threads:
                p.join()
            try:
                assert full.get() == "there" and not {immediate}
            except ShutDown:
                assert {immediate}
        """,
    )


# Objects that cannot be sent


def test_strict():
    q = procession.Queue(1, strict=True)  # type: ignore[call-arg]
    with pytest.raises(Exception, match="pickle"):
        q.put(UNPICKLABLE)
    assert q.empty()
    q.put_nowait("there is room")
    assert q.get() == "there is room"


def test_not_strict_reports_and_drops(capfd):
    q = procession.Queue(1)
    q.put(UNPICKLABLE)
    error = capfd.readouterr().err
    assert error.startswith("Traceback") and "pickle" in error
    q.put("there is room", timeout=10)
    q.put_nowait(UNPICKLABLE)  # while it is full: nothing was to be put
    assert q.get(timeout=10) == "there is room"
    assert q.empty()


class Refuses:
    def __reduce__(self):
        raise NotImplementedError("not me")


def test_hook():
    seen = []

    class Hooked(queues.Queue):
        @staticmethod
        def _on_queue_feeder_error(e, obj):
            seen.append((e, obj))

    q, refuses = Hooked(1, ctx=procession.get_context()), Refuses()
    q.put(refuses)
    [(error, obj)] = seen
    assert (
        isinstance(error, NotImplementedError) and str(error) == "not me" and error.__traceback__ is not None
    )
    assert obj is refuses
    assert q.empty()
    q.put_nowait(1)
    assert q.get() == 1


def test_simple_queue_is_strict():
    q = procession.SimpleQueue()
    with pytest.raises(NotImplementedError):
        q.put(Refuses())
    q.put(1)
    assert q.get() == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_exceptions_that_end_programs_are_not_swallowed(kind):
    class Ends:
        def __reduce__(self):
            raise kind("now")

    q = procession.Queue()
    with pytest.raises(kind):
        q.put(Ends())
    q.put(1)
    assert q.get() == 1


def fail(text):
    raise ZeroDivisionError(text)


class Arrives:
    """An object whose unpickling fails."""

    def __init__(self, padding=b""):
        self.padding = padding

    def __reduce__(self):
        return fail, ("on arrival", self.padding) if self.padding else ("on arrival",)


def test_unpickling_fails():
    q = procession.Queue(3)
    q.put(Arrives())
    q.put("next")
    q.put(Arrives())
    with pytest.raises(ZeroDivisionError, match="on arrival"):
        q.get()
    assert q.get() == "next"
    with pytest.raises(ZeroDivisionError):
        q.get_many(2)
    assert q.empty()
    q.put_many([1, 2, 3], block=False)
    assert q.get_many(3) == [1, 2, 3]


def test_unpickling_of_large_objects_fails():
    q = procession.Queue()
    before = _engine.resident_bytes()
    for _ in range(30):
        q.put(Arrives(bytes(BIG)))
        with pytest.raises(TypeError):
            q.get()
    q.put("next")
    assert q.get() == "next"
    assert _engine.resident_bytes() - before < 30 * BIG


NO_MEMORY = """
import procession

q = procession.Queue()
for size in (1 << 20, 1_000):
    for put in (lambda: q.put(bytes(size)), lambda: q.put_many([bytes(size)] * 10), lambda: q.put([bytes(size)])):
        try:
            while True:
                put()
        except MemoryError as error:
            assert "shared memory" in str(error), error
count = q.qsize()
for _ in range(count):
    q.get()
q.put("next")
print(q.get())
"""


def test_without_memory_put_says_so(run_script):
    result = run_script(NO_MEMORY, env={"PROCESSION_HEAP_BYTES": str(64 * BIG)})
    result.check()
    assert (result.stdout, result.stderr) == ("next\n", "")


# Large objects


@pytest.mark.parametrize("size", [8191, 8192, 8193, 65_536, 1_000_000, 20_000_000])
def test_large(size):
    q = procession.Queue()
    content = os.urandom(1000) * (size // 1000 + 1)
    for obj in (
        content[:size],
        "x" * size,
        "ä" * size,
        bytearray(content[:size]),
        [content[:size], "y" * size],
    ):
        q.put(obj)
        received = q.get(timeout=10)
        assert type(received) is type(obj) and received == obj


@pytest.mark.smoke
def test_zero_copy():
    numpy = pytest.importorskip("numpy")
    q = procession.Queue(zero_copy=True)  # type: ignore[call-arg]
    array = numpy.arange(4 << 20, dtype="u1").reshape(4, -1)
    q.put(array)
    received = q.get()
    base = received
    while not isinstance(base, _engine.SharedBuffer):
        base = base.obj if isinstance(base, memoryview) else base.base
    assert received.flags.writeable and not received.flags.owndata
    numpy.testing.assert_array_equal(received, array)
    # This process's alone: writing changes nothing else.
    received[:] = 7
    assert array[1, 1] == (array.shape[1] + 1) % 256
    del base


def test_zero_copy_outlives_the_queue():
    numpy = pytest.importorskip("numpy")
    q = procession.Queue(zero_copy=True)  # type: ignore[call-arg]
    q.put({"a": numpy.full(1 << 20, 3.0), "b": numpy.full(1 << 20, 4.0)})
    received = q.get()
    other = procession.Queue()
    del q
    for _ in range(5):  # these would overwrite it if it were free
        other.put(bytes(16 << 20))
        other.get()
    part = received["b"][10:20]
    del received
    assert (part == 4.0).all()


def test_zero_copy_is_given_back():
    numpy = pytest.importorskip("numpy")
    q = procession.Queue(zero_copy=True)  # type: ignore[call-arg]
    before = _engine.resident_bytes()
    size = 256 << 20
    q.put(numpy.ones(size, dtype="u1"))
    array = q.get()
    assert _engine.resident_bytes() - before >= size
    view = array[:10]
    del array
    assert _engine.resident_bytes() - before >= size
    del view
    # The memory that is kept warm is less than half of it.
    assert _engine.resident_bytes() - before < size


def test_without_zero_copy_it_is_private():
    numpy = pytest.importorskip("numpy")
    q = procession.Queue()
    q.put(numpy.ones(1 << 20))
    received = q.get()
    assert received.flags.writeable
    assert (received == 1).all()


@pytest.mark.parametrize("method", METHODS)
def test_zero_copy_between_processes(run, method):
    pytest.importorskip("numpy")
    run(
        method,
        """
        import numpy
        def child(there, back):
            array = there.get()
            array += 1
            back.put(array)
        if __name__ == "__main__":
            there, back = ctx.Queue(zero_copy=True), ctx.Queue(zero_copy=True)
            p = ctx.Process(target=child, args=(there, back))
            p.start()
            there.put(numpy.arange(1_000_000))
            array = back.get(timeout=30)
            p.join()
            assert (array == numpy.arange(1, 1_000_001)).all()
        """,
    )


# JoinableQueue


@pytest.mark.smoke
def test_task_done():
    q = procession.JoinableQueue()
    q.join()
    with pytest.raises(ValueError, match="task_done"):
        q.task_done()
    q.put_many([1, 2])
    q.get_many(2)
    q.task_done()
    with Late(q.task_done):
        q.join()
    with pytest.raises(ValueError, match="task_done"):
        q.task_done()
    q.join()


def test_task_done_says_what_the_standard_librarys_says():
    messages = []
    for package in (multiprocessing, procession):
        with pytest.raises(ValueError) as caught:
            package.JoinableQueue().task_done()
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("method", METHODS)
def test_joinable(run, method):
    run(
        method,
        """
        def worker(q, total):
            while True:
                item = q.get()
                with total.get_lock():
                    total.value += item
                q.task_done()
        if __name__ == "__main__":
            q, total = ctx.JoinableQueue(10), ctx.Value("i")
            workers = [ctx.Process(target=worker, args=(q, total), daemon=True) for _ in range(3)]
            for p in workers:
                p.start()
            for i in range(200):
                q.put(i)
            q.join()
            assert total.value == sum(range(200))
            q.put(1)
            q.join()
            assert total.value == sum(range(200)) + 1
        """,
    )


DIES = """
    def consumer(q, started):
        q.get()
        started.put(os.getpid())
        time.sleep(1000)
    def good(q):
        q.get()
        q.task_done()
    if __name__ == "__main__":
        q, started = ctx.JoinableQueue(watch=True), ctx.Queue()
        q.put_many(range(3))
        p = ctx.Process(target=consumer, args=(q, started), daemon=True)
        p.start()
        started.get(timeout=30)
        def kill():
            time.sleep(0.3)
            p.kill()
            if sys.argv[2] == "reaped":
                p.join()
        threading.Thread(target=kill).start()
        others = [ctx.Process(target=good, args=(q,)) for _ in range(2)]
        for other in others:
            other.start()
        try:
            q.join()
        except ConsumerDied as error:
            assert isinstance(error, RuntimeError) and str(error)
        else:
            raise SystemExit("nobody said that it died")
        for other in others:
            other.join()
            assert other.exitcode == 0
    """


@pytest.mark.parametrize("reaped", ["reaped", "left"])
@pytest.mark.parametrize("method", METHODS)
def test_watch(run_script, method, reaped):
    run_script(PROLOGUE + textwrap.dedent(DIES), method, reaped).check()


@pytest.mark.parametrize("method", METHODS)
def test_watch_of_consumers_that_are_done(run, method):
    run(
        method,
        """
        def consumer(q):
            q.get()
            q.task_done()
            os.kill(os.getpid(), signal.SIGKILL)
        if __name__ == "__main__":
            q = ctx.JoinableQueue(watch=True)
            q.put(1)
            p = ctx.Process(target=consumer, args=(q,))
            p.start()
            q.join()
            p.join()
            q.join()
        """,
    )


# On the way to other processes


@pytest.mark.parametrize("method", METHODS)
def test_everything_goes_everywhere(run, method):
    """Queues, locks and semaphores travel as arguments, through queues and pipes, and back from a child that
    has ended.
    """
    out = run(
        method,
        """
        def use(things):
            q, simple, joinable, lock, rlock, semaphore, bounded = things
            assert lock.acquire(False) is False
            lock.release()
            with rlock, rlock, semaphore, bounded:
                q.put("q")
                simple.put("simple")
                joinable.put("joinable")

        def by_argument(things):
            use(things)
        def by_queue(carrier):
            use(carrier.get())
        def by_pipe(connection):
            use(connection.recv())
            connection.send("used")
        def gives(carrier):
            q = ctx.Queue()
            q.put("from a child that is gone")
            lock = ctx.Lock()
            carrier.put([q, {"lock": lock}])

        def check(things):
            q, simple, joinable, lock, *_ = things
            assert q.get(timeout=30) == "q"
            assert simple.get() == "simple"
            assert joinable.get() == "joinable"
            assert lock.acquire(False)

        if __name__ == "__main__":
            things = (ctx.Queue(5), ctx.SimpleQueue(), ctx.JoinableQueue(), ctx.Lock(), ctx.RLock(),
                      ctx.Semaphore(2), ctx.BoundedSemaphore(3))
            things[3].acquire()
            def run(target, argument):
                p = ctx.Process(target=target, args=(argument,))
                p.start()
                return p
            p = run(by_argument, things)
            p.join()
            check(things)

            carrier = ctx.Queue()
            carrier.put(things)
            run(by_queue, carrier).join()
            check(things)

            ours, theirs = ctx.Pipe()
            p = run(by_pipe, theirs)
            ours.send(things)
            assert ours.recv() == "used"
            p.join()
            check(things)

            run(gives, carrier).join()
            q, others = carrier.get(timeout=30)
            assert q.get(timeout=30) == "from a child that is gone"
            assert others["lock"].acquire(False)
            assert things[5].get_value() == 2 and things[6].get_value() == 3
            print("done")
        """,
    )
    assert out == "done\n"


@pytest.mark.parametrize("method", METHODS)
def test_to_workers_of_a_pool(run, method):
    run(
        method,
        """
        def work(q, lock, i):
            with lock:
                q.put(i)
            return i
        def make(i):
            q = procession.Queue()
            q.put(i)
            return q.get(timeout=30)
        if __name__ == "__main__":
            q, lock = ctx.Queue(), ctx.Lock()
            with ctx.Pool(2) as pool:
                assert pool.apply(work, (q, lock, 100)) == 100
                assert pool.starmap(work, [(q, lock, i) for i in range(20)]) == list(range(20))
                assert pool.map(make, range(5)) == list(range(5))
            assert sorted(q.get(timeout=30) for _ in range(21)) == [*range(20), 100]
        """,
    )


@pytest.mark.parametrize(
    "make", [lambda p: p.Queue(), lambda p: p.JoinableQueue(), lambda p: p.SimpleQueue(), lambda p: p.Lock()]
)
def test_pickled_outside(make):
    messages = []
    for package in (multiprocessing, procession):
        with pytest.raises(RuntimeError) as caught:
            pickle.dumps(make(package))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_a_queue_in_itself():
    q = procession.Queue()
    q.put([q, "x"])
    again, x = q.get()
    again.put(x)
    assert q.get() == "x"


def test_options_travel():
    q = procession.Queue()
    q.put(procession.Queue(2, strict=True))  # type: ignore[call-arg]
    received = q.get()
    with pytest.raises(Exception, match="pickle"):
        received.put(UNPICKLABLE)
    received.put_many([1, 2])
    with pytest.raises(queue.Full):
        received.put(3, False)


# Waiting for several things


def test_wait():
    q, other = procession.Queue(), procession.SimpleQueue()
    ours, theirs = procession.Pipe()
    reader, second = q._reader, other._reader
    assert wait([reader, second, ours], 0) == []
    assert wait([reader, second, ours], 0.05) == []
    q.put(1)
    assert wait([reader, second, ours], 10) == [reader]
    assert wait([reader, second, ours], 10) == [reader]
    theirs.send(1)
    other.put(1)
    ready = []
    while len(ready) < 3:  # as they are noticed
        ready = wait([reader, second, ours], 10)
    assert q.get() == 1
    assert ours.recv() == 1
    assert set(wait([reader, second, ours], 10)) == {second}
    other.get()
    assert wait([reader, second, ours], 0.05) == []
    with Late(q.put, 2):
        assert wait([reader, second, ours], 60) == [reader]


@pytest.mark.parametrize("method", METHODS)
def test_wait_with_sentinels(run, method):
    run(
        method,
        """
        from procession.connection import wait
        def child(q, connection):
            q.put("from the queue")
            connection.recv()
            connection.send("from the pipe")
            connection.recv()
        if __name__ == "__main__":
            q, (ours, theirs) = ctx.Queue(), ctx.Pipe()
            p = ctx.Process(target=child, args=(q, theirs))
            p.start()
            everything = [q._reader, ours, p.sentinel]
            assert wait(everything, 30) == [everything[0]]
            assert q.get() == "from the queue"
            assert wait(everything, 0.1) == []
            ours.send(1)
            assert wait(everything, 30) == [ours]
            assert ours.recv() == "from the pipe"
            ours.send(2)
            assert wait(everything, 30) == [p.sentinel]
            p.join()
        """,
    )


def test_reader():
    q = procession.Queue()
    reader, writer = q._reader, q._writer
    assert reader.poll() is False and reader.poll(0.05) is False
    writer.send({"a": 1})
    assert reader.poll() and reader.poll(5) and reader.poll(None)
    assert reader.recv() == {"a": 1}
    with Late(q.put, 1):
        assert reader.poll(60)
    q.get()
    with Late(q.put, 2):
        assert reader.poll(None)
    q.close()
    for call in (reader.poll, reader.recv, reader.fileno, lambda: writer.send(1)):
        with pytest.raises(OSError, match="closed"):
            call()
    assert reader.closed


def test_select():
    q = procession.Queue()
    fd = q._reader.fileno()
    assert select.select([fd], [], [], 0.05)[0] == []
    for i in range(20):
        with Late(q.put, i, after=0.01):
            assert select.select([fd], [], [], 60)[0] == [fd]
        assert q.get(timeout=10) == i
    q.put_many([1, 2])
    for _ in range(2):
        assert select.select([fd], [], [], 60)[0] == [fd]
        q.get()


def test_select_sees_what_other_processes_put(run):
    run(
        "fork",
        """
        import select
        def child(there, back):
            for i in range(100):
                assert there.get() == i
                back.put(i)
        if __name__ == "__main__":
            there, back = ctx.Queue(), ctx.Queue()
            p = ctx.Process(target=child, args=(there, back))
            p.start()
            for i in range(100):
                there.put(i)
                assert select.select([back._reader], [], [], 30)[0]
                assert back.get(timeout=30) == i
            p.join()
        """,
    )


# SimpleQueue


@pytest.mark.smoke
def test_simple_queue():
    q = procession.SimpleQueue()
    assert q.empty()
    q.put(1)
    q.put(bytes(BIG))
    assert not q.empty()
    assert q.get() == 1 and q.get() == bytes(BIG)
    with Late(q.put, "late"):
        assert q.get() == "late"


# Many at a time


@pytest.mark.parametrize("maxsize", [0, 1, 20])
def test_threads(maxsize):
    q = procession.Queue(maxsize)
    received = [[] for _ in range(3)]

    def producer(n):
        for i in range(300):
            q.put((n, i) if i % 50 else (n, i, bytes(20_000)))

    def consumer(mine):
        while (item := q.get()) is not None:
            mine.append(item[:2])

    producers = [threading.Thread(target=producer, args=(n,)) for n in range(3)]
    consumers = [threading.Thread(target=consumer, args=(mine,)) for mine in received]
    for thread in producers + consumers:
        thread.start()
    for thread in producers:
        thread.join()
    q.put_many([None] * 3)
    for thread in consumers:
        thread.join()
    assert sorted(item for mine in received for item in mine) == [
        (n, i) for n in range(3) for i in range(300)
    ]
    for mine in received:
        for n in range(3):
            numbers = [i for m, i in mine if m == n]
            assert numbers == sorted(numbers)


@pytest.mark.parametrize("method", METHODS)
def test_processes(run, method):
    run(
        method,
        """
        def producer(q, n):
            for i in range(500):
                q.put((n, i, "x" * (i if i % 100 else 30_000)))
        def consumer(q, results):
            while (item := q.get()) is not None:
                assert len(item[2]) == (item[1] if item[1] % 100 else 30_000)
                results.put((os.getpid(), *item[:2]))
        if __name__ == "__main__":
            q, results = ctx.Queue(10), ctx.Queue()
            producers = [ctx.Process(target=producer, args=(q, n)) for n in range(2)]
            consumers = [ctx.Process(target=consumer, args=(q, results)) for _ in range(2)]
            for p in producers + consumers:
                p.start()
            for p in producers:
                p.join()
            q.put_many([None] * 2)
            for p in consumers:
                p.join()
                assert p.exitcode == 0
            found = [results.get(timeout=30) for _ in range(1000)]
            assert sorted(item[1:] for item in found) == [(n, i) for n in range(2) for i in range(500)]
            for who in {item[0] for item in found}:
                for n in range(2):
                    numbers = [i for pid, m, i in found if (pid, m) == (who, n)]
                    assert numbers == sorted(numbers)
        """,
    )


@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_what_was_put_outlives_the_producer(run, end):
    run(
        "fork",
        f"""
        def producer(q):
            q.put_many(range(100))
            q.put(bytes(1 << 20))
            {end}
        if __name__ == "__main__":
            q = ctx.Queue()
            p = ctx.Process(target=producer, args=(q,))
            p.start()
            p.join()
            assert q.qsize() == 101
            assert [q.get(timeout=30) for _ in range(100)] == list(range(100))
            assert q.get(timeout=30) == bytes(1 << 20)
        """,
    )

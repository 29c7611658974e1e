"""Locks and semaphores, and the standard library's classes that use them."""

import multiprocessing
import os
import re
import textwrap
import threading
import time

import pytest

import procession

METHODS = ["fork", "spawn", "forkserver"]
pytestmark = pytest.mark.watchdog(120)

PROLOGUE = """\
import os, signal, sys, threading, time, warnings
import procession
from procession.synchronize import OwnerDiedWarning
ctx = procession.get_context(sys.argv[1])
def start(target, *args):
    p = ctx.Process(target=target, args=args)
    p.start()
    return p
"""


@pytest.fixture
def run(run_script):
    """Returns a function that runs a program with a start method as `ctx`, and asserts that it succeeds."""

    def run(method, text, **options):
        result = run_script(PROLOGUE + textwrap.dedent(text), method, **options)
        result.check()
        return result

    return run


def in_thread(function, *args):
    """Returns the result of a function in another thread."""
    answer = []
    thread = threading.Thread(target=lambda: answer.append(function(*args)))
    thread.start()
    thread.join()
    return answer[0]


# One process


@pytest.mark.smoke
def test_lock():
    lock = procession.Lock()
    assert lock.acquire() is True
    assert lock.acquire(False) is False
    assert lock.acquire(block=False) is False
    assert lock.acquire(timeout=0) is False
    assert lock.acquire(timeout=-5) is False
    start = time.monotonic()
    assert lock.acquire(True, 0.1) is False
    assert time.monotonic() - start >= 0.1
    assert lock.release() is None
    with lock as entered:
        assert entered is True
        assert not lock.acquire(False)
    with pytest.raises(ValueError, match="released too many times"):
        lock.release()
    lock.acquire()
    in_thread(lock.release)  # by any thread
    assert lock.acquire(False)


@pytest.mark.smoke
def test_rlock():
    lock = procession.RLock()
    assert all(lock.acquire() for _ in range(3))
    assert in_thread(lock.acquire, False) is False
    for _ in range(3):
        lock.release()
    with pytest.raises(AssertionError, match="not owned"):
        lock.release()
    with lock, lock:
        assert in_thread(lock.acquire, True, 0.05) is False
    assert in_thread(lambda: lock.acquire(False) and not lock.release())
    lock.acquire()

    def release():
        with pytest.raises(AssertionError, match="not owned"):
            lock.release()
        return True

    assert in_thread(release)
    lock.release()


@pytest.mark.smoke
def test_semaphores():
    for make in (procession.Semaphore, procession.BoundedSemaphore):
        semaphore = make(2)
        assert semaphore.get_value() == 2
        assert semaphore.acquire() and semaphore.acquire(False)
        assert semaphore.get_value() == 0
        assert semaphore.acquire(False) is False
        assert semaphore.acquire(timeout=0.05) is False
        semaphore.release()
        with semaphore:
            assert semaphore.get_value() == 0
        semaphore.release()
        assert semaphore.get_value() == 2
    with pytest.raises(ValueError, match="released too many times"):
        semaphore.release()
    semaphore = procession.Semaphore()
    for _ in range(5):
        semaphore.release()
    assert semaphore.get_value() == 6
    assert procession.Semaphore(0).acquire(False) is False
    for value in (-1, 2**31):
        with pytest.raises((ValueError, OSError, OverflowError)):
            procession.Semaphore(value)


def test_exclusion_between_threads():
    for lock in (procession.Lock(), procession.RLock(), procession.Semaphore(1)):
        count = 0

        def work(lock=lock):
            nonlocal count
            for _ in range(500):
                with lock:
                    before = count
                    if before % 50 == 0:
                        time.sleep(0)
                    count = before + 1

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert count == 2000


def test_arguments_are_the_standard_librarys():
    for name in ("Lock", "RLock", "Semaphore", "BoundedSemaphore"):
        for package in (multiprocessing, procession):
            thing = getattr(package, name)()
            assert thing.acquire(block=True, timeout=None)
            thing.release()
            for wrong in ({"blocking": True}, {"timeout": "x"}):
                with pytest.raises(TypeError):
                    thing.acquire(**wrong)


# What it looks like


def states(package):
    """Returns the representations of all objects in all their states."""
    found = {}
    lock, rlock = package.Lock(), package.RLock()

    def note(name):
        text = repr(things[name.split()[0]]).replace(package.__name__, "package")
        found[name] = re.sub(r"0x[0-9a-f]+", "0x", text)

    things = {
        "lock": lock, "rlock": rlock, "semaphore": package.Semaphore(3), "bounded": package.BoundedSemaphore(2),
        "condition": package.Condition(), "on-lock": package.Condition(lock), "event": package.Event(), "barrier": package.Barrier(2),
    }  # fmt: skip
    for name in things:
        note(f"{name} free")
    lock.acquire()
    rlock.acquire()
    for name in things:
        note(f"{name} held")
    rlock.acquire()
    note("rlock held twice")
    in_thread(note, "lock seen by another thread")
    in_thread(note, "rlock seen by another thread")
    lock.release()
    rlock.release()
    rlock.release()
    in_thread(lock.acquire)
    in_thread(rlock.acquire)
    note("lock held by another thread")
    lock.release()
    note("lock released by another thread")
    semaphores = [things["semaphore"], things["bounded"]]
    for semaphore in semaphores:
        semaphore.acquire()
    note("semaphore acquired")
    note("bounded acquired")
    things["semaphore"].release()
    things["semaphore"].release()
    note("semaphore above")
    things["event"].set()
    note("event set")
    with things["condition"]:
        note("condition held")
    return found


def test_representations():
    expected = states(multiprocessing)
    assert states(procession) == expected
    assert expected["lock held"] == "<Lock(owner=MainProcess)>"
    assert expected["bounded acquired"] == "<BoundedSemaphore(value=1, maxvalue=2)>"


@pytest.mark.parametrize("method", METHODS)
def test_representations_in_other_processes(run_script, method):
    program = """
        import sys
        import multiprocessing
        ctx = multiprocessing.get_context(sys.argv[1])
        def show(*things):
            for thing in things:
                print(thing)
            lock, rlock, *_ = things
            print(lock.acquire(False), rlock.acquire(False))
            sys.stdout.flush()
        def hold(lock, rlock, held, go):
            lock.acquire(), rlock.acquire(), rlock.acquire()
            print(lock, rlock, flush=True)
            held.set()
            go.wait()
            lock.release()
            rlock.release(), rlock.release()
        if __name__ == "__main__":
            things = lock, rlock, semaphore, bounded = ctx.Lock(), ctx.RLock(), ctx.Semaphore(3), ctx.BoundedSemaphore(2)
            with lock, rlock, semaphore, bounded:
                p = ctx.Process(target=show, args=things, name="Other")
                p.start()
                p.join()
            held, go = ctx.Event(), ctx.Event()
            p = ctx.Process(target=hold, args=(lock, rlock, held, go), name="Holder")
            p.start()
            held.wait()
            print(lock, rlock, flush=True)
            go.set()
            p.join()
            print(lock, rlock, flush=True)
    """
    expected = run_script(program, method)
    actual = run_script(program, method, module="procession")
    assert expected.stdout.count("\n") == 8, expected.stderr
    assert actual.stdout == expected.stdout
    actual.check()


# The private side, which the standard library's own code uses


def test_private():
    for package in (multiprocessing, procession):
        lock, rlock, semaphore = package.Lock(), package.RLock(), package.BoundedSemaphore(2)
        assert lock._semlock._is_zero() is False and lock._semlock._get_value() == 1
        assert lock._semlock._count() == 0 and not lock._semlock._is_mine()
        lock.acquire()
        assert lock._semlock._is_zero() is True and lock._semlock._get_value() == 0
        assert lock._semlock._count() == 1 and lock._semlock._is_mine()
        assert not in_thread(lock._semlock._is_mine)
        rlock.acquire()
        rlock.acquire()
        assert rlock._semlock._count() == 2 and rlock._semlock._is_mine()
        assert semaphore._semlock.maxvalue == 2
        semaphore.acquire()
        assert semaphore._semlock._get_value() == 1
        assert semaphore._semlock.acquire(False)
        assert semaphore._semlock._is_zero()
        semaphore._semlock.release()


def test_condition():
    for lock in (procession.Lock(), procession.RLock(), None):
        condition = procession.Condition(lock)
        with pytest.raises(AssertionError):
            condition.wait(0)
        with pytest.raises(AssertionError):
            condition.notify()
        with condition:
            assert condition.wait(0.05) is False
            assert condition.wait_for(lambda: 3, 1) == 3
        woken = []

        def sleeper(condition=condition, woken=woken):
            with condition:
                woken.append(condition.wait(60))

        threads = [threading.Thread(target=sleeper) for _ in range(4)]
        for thread in threads:
            thread.start()
        while condition._sleeping_count.get_value() < 4:
            time.sleep(0.01)
        with condition:
            condition.notify(2)
        while len(woken) < 2:
            time.sleep(0.01)
        with condition:
            condition.notify_all()
        for thread in threads:
            thread.join()
        assert woken == [True] * 4
    condition = procession.Condition()
    with condition, condition, condition:  # all of it is let go of
        threading.Timer(
            0.1, lambda: (condition.__enter__() and condition.notify()) or condition.__exit__()
        ).start()
        assert condition.wait(60)


def test_event_and_barrier():
    event = procession.Event()
    assert not event.is_set() and event.wait(0.05) is False
    threading.Timer(0.1, event.set).start()
    assert event.wait(60) and event.is_set() and event.wait(0)
    event.clear()
    assert not event.is_set()
    barrier = procession.Barrier(3, timeout=60)
    numbers = []
    threads = [threading.Thread(target=lambda: numbers.append(barrier.wait())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == [0, 1, 2]
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(0.05)
    assert barrier.broken
    barrier.reset()
    assert not barrier.broken


@pytest.mark.parametrize("method", METHODS)
def test_between_processes(run, method):
    run(
        method,
        """
        def work(lock, rlock, barrier, value, event, condition, flag):
            barrier.wait(30)
            for _ in range(300):
                with lock:
                    value[0] += 1
                with rlock, rlock:
                    value[1] += 1
            assert event.wait(30)
            with condition:
                assert condition.wait_for(lambda: flag.value, 30)
        if __name__ == "__main__":
            value, flag = ctx.RawArray("i", 2), ctx.RawValue("i")
            lock, rlock, barrier, event, condition = (
                ctx.Lock(), ctx.RLock(), ctx.Barrier(3), ctx.Event(), ctx.Condition())
            children = [start(work, lock, rlock, barrier, value, event, condition, flag) for _ in range(3)]
            event.set()
            time.sleep(0.1)
            with condition:
                flag.value = 1
                condition.notify_all()
            for p in children:
                p.join()
                assert p.exitcode == 0
            assert list(value) == [900, 900]
        """,
    )


@pytest.mark.parametrize("method", METHODS)
def test_released_by_another_process(run, method):
    run(
        method,
        """
        def release(lock, semaphore, rlock):
            lock.release()
            semaphore.release()
            try:
                rlock.release()
            except AssertionError:
                pass
            else:
                raise SystemExit("an RLock of another process was released")
        if __name__ == "__main__":
            lock, semaphore, rlock = ctx.Lock(), ctx.BoundedSemaphore(1), ctx.RLock()
            lock.acquire(), semaphore.acquire(), rlock.acquire()
            p = start(release, lock, semaphore, rlock)
            assert lock.acquire(timeout=30) and semaphore.acquire(timeout=30)
            p.join()
            assert p.exitcode == 0
            for thing in (lock, semaphore):
                thing.release()
                try:
                    thing.release()
                except ValueError:
                    pass
                else:
                    raise SystemExit(f"{thing} was released twice")
        """,
    )


# Holders that die

DIES = """
    def take(thing, taken):
        thing.acquire()
        taken.set()
        time.sleep(1000)
    def died_with(thing):
        taken = ctx.Event()
        p = start(take, thing, taken)
        assert taken.wait(30)
        p.kill()
        return p
"""


@pytest.mark.parametrize("name", ["Lock", "RLock", "Semaphore", "BoundedSemaphore"])
@pytest.mark.parametrize("method", METHODS)
def test_warned_once(run, method, name):
    run(
        method,
        textwrap.dedent(DIES)
        + textwrap.dedent(
            f"""
            if __name__ == "__main__":
                warnings.simplefilter("always")
                for reap in (True, False):
                    thing = ctx.{name}()
                    p = died_with(thing)
                    if reap:
                        p.join()
                    with warnings.catch_warnings(record=True) as seen:
                        assert thing.acquire(timeout=30), reap
                        thing.release()
                        for _ in range(3):
                            with thing:
                                pass
                    assert [w.category for w in seen] == [OwnerDiedWarning], (reap, seen)
                    assert issubclass(OwnerDiedWarning, RuntimeWarning)
                    assert seen[0].filename == __file__ and "died" in str(seen[0].message)
                    p.join()
            """
        ),
    )


@pytest.mark.parametrize("name", ["Lock", "RLock", "Semaphore", "BoundedSemaphore"])
def test_warnings_as_errors_leave_it_released(run, name):
    run(
        "fork",
        textwrap.dedent(DIES)
        + textwrap.dedent(
            f"""
            if __name__ == "__main__":
                thing = ctx.{name}()
                died_with(thing).join()
                warnings.simplefilter("error")
                for call in (thing.acquire,):
                    try:
                        call()
                    except OwnerDiedWarning:
                        pass
                    else:
                        raise SystemExit("it was not an error")
                assert thing._semlock._count() == 0 and not thing._semlock._is_mine()
                found = []
                def other():
                    found.append(thing.acquire(False))
                    thing.release()
                t = threading.Thread(target=other)
                t.start()
                t.join()
                assert found == [True], found
                with thing:
                    pass
            """
        ),
    )


def test_seen_on_standard_error(run):
    result = run(
        "fork",
        textwrap.dedent(DIES)
        + textwrap.dedent(
            """
            if __name__ == "__main__":
                lock = ctx.Lock()
                died_with(lock).join()
                lock.acquire()
            """
        ),
    )
    assert result.stderr.count("OwnerDiedWarning: a process died holding this Lock") == 1
    assert "lock.acquire()" in result.stderr


def test_one_that_waits_already(run):
    run(
        "fork",
        """
        def take(lock, taken):
            lock.acquire()
            taken.set()
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGKILL)
        if __name__ == "__main__":
            warnings.simplefilter("error")
            for make in (ctx.Lock, ctx.RLock, ctx.Semaphore, ctx.BoundedSemaphore):
                lock, taken = make(), ctx.Event()
                start(take, lock, taken)
                assert taken.wait(30)
                try:
                    lock.acquire(timeout=40)
                except OwnerDiedWarning:
                    pass
                else:
                    raise SystemExit(f"no warning for {lock}")
        """,
    )


def test_a_forked_child_holds_nothing(run):
    run(
        "fork",
        """
        def child(lock, rlock):
            assert lock._semlock._count() == 0 and not rlock._semlock._is_mine()
            assert not lock.acquire(False) and not rlock.acquire(False)
        if __name__ == "__main__":
            lock, rlock = ctx.Lock(), ctx.RLock()
            with lock, rlock:
                p = start(child, lock, rlock)
                p.join()
                assert p.exitcode == 0
            # Its end has changed nothing.
            assert lock.acquire(False) and rlock.acquire(False)
        """,
    )


# Ten thousand


def test_descriptors_do_not_grow():
    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    first = procession.Lock(), procession.Semaphore(), procession.RLock()
    before = descriptors()
    locks = [
        make() for _ in range(2500) for make in (procession.Lock, procession.RLock, procession.Semaphore)
    ]
    locks += [procession.BoundedSemaphore(3) for _ in range(2500)]
    for lock in locks:
        assert lock.acquire(False)
    assert descriptors() <= before
    for lock in locks:
        lock.release()
    queues = [procession.Queue() for _ in range(300)]
    for q in queues:
        q.put(1)
    assert descriptors() <= before
    del locks, queues, first

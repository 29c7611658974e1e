"""The report of `procession.inspect()`."""

import os
import threading
import time

import pytest

import procession as mp

METHODS = ("fork", "spawn", "forkserver")


def wait_for(what):
    while not (found := what()):
        time.sleep(0.01)
    return found


def hold(lock, over):
    with lock:
        over.get()


@pytest.mark.parametrize("method", METHODS)
def test_holder_users_and_names(method):
    context = mp.get_context(method)
    lock, over = context.Lock(), context.Queue()
    child = context.Process(target=hold, args=(lock, over), name="the holder")
    child.start()

    def held():
        found = [it for it in mp.inspect().objects if it.holder is not None and it.holder.pid == child.pid]
        return found

    (it,) = wait_for(held)
    assert it.kind == "lock"
    assert it.holder.process == "the holder"
    assert set(it.users) >= {os.getpid(), child.pid}
    process = next(it for it in mp.inspect().processes if it.pid == child.pid)
    assert process.name == "the holder"
    assert process.holds >= 2
    over.put(None)
    child.join()
    assert all(it.pid != child.pid for it in mp.inspect().processes)


@pytest.mark.parametrize("method", METHODS)
def test_wait_and_report(method):
    context = mp.get_context(method)
    queue = context.Queue()
    child = context.Process(target=queue.get, name="hungry")
    child.start()
    wait = wait_for(lambda: [it for it in mp.inspect().waits if it.who.pid == child.pid])[0]
    assert (wait.what, wait.kind, wait.who.process) == ("get", "queue", "hungry")
    time.sleep(0.1)
    seen = mp.inspect()
    assert next(it for it in seen.waits if it.who.pid == child.pid).waited >= wait.waited + 0.1
    assert f"hungry (pid {child.pid}) waits for queue {wait.object} (get)" in str(seen)
    queue.put(1)
    child.join()


def cross(mine, theirs, ready, go):
    with mine:
        ready.put(None)
        go.get()
        theirs.acquire()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_deadlock_of_two_processes(method, kind):
    context = mp.get_context(method)
    locks = [getattr(context, kind)() for _ in range(2)]
    ready, go = context.Queue(), context.Queue()
    children = [
        context.Process(target=cross, args=(locks[i], locks[1 - i], ready, go), name=f"philosopher {i}")
        for i in range(2)
    ]
    for child in children:
        child.start()
    for _ in children:
        ready.get()
    assert not mp.inspect().deadlocks
    for _ in children:
        go.put(None)
    try:
        (deadlock,) = wait_for(lambda: mp.inspect().deadlocks)
        assert {it.who.pid for it in deadlock.waits} == {it.pid for it in children}
        assert {it.who.process for it in deadlock.waits} == {it.name for it in children}
        text = str(mp.inspect())
        assert "deadlock of 2" in text and "which philosopher" in text
    finally:
        for child in children:
            child.kill()
            child.join()


def test_threads_are_told_apart():
    lock, started = mp.Lock(), threading.Event()
    numbers = []

    def wait():
        numbers.append(threading.get_native_id())
        started.set()
        lock.acquire(timeout=60)

    with lock:
        thread = threading.Thread(target=wait)
        thread.start()
        started.wait()
        found = wait_for(lambda: [it for it in mp.inspect().waits if it.who.pid == os.getpid()])
        assert [it.who.thread for it in found] == numbers
        assert not mp.inspect().deadlocks
    thread.join()

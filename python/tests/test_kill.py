"""SIGKILL at any moment: what is left is whole, and the others go on. And other rough ends: `_exit`, `fork`, `exec`.

By default some dozens of kills for each case; thousands with PROCESSION_LONG=1.
"""

import os
import textwrap

import pytest

METHODS = ["fork", "spawn", "forkserver"]
LONG = bool(os.environ.get("PROCESSION_LONG"))
KILLS = 2000 if LONG else 60
LIMIT = 1500 if LONG else 100
pytestmark = [pytest.mark.watchdog(LIMIT + 60), pytest.mark.timeout(LIMIT + 90)]

PROLOGUE = """\
import hashlib, os, queue, random, signal, subprocess, sys, threading, time, warnings
import procession
from procession.synchronize import OwnerDiedWarning
ctx = procession.get_context(sys.argv[1])
kills = int(sys.argv[2])
random.seed(int.from_bytes(os.urandom(4), "big"))

def start(target, *args, **options):
    p = ctx.Process(target=target, args=args, **options)
    p.start()
    return p

def kill_soon(p):
    # At once now and then, so that the start itself is hit as well.
    time.sleep(random.choice([0, 0.001, 0.005, 0.02]) * random.random())
    p.kill()

def payload(who, i):
    size = (0, 10, 300, 9_000, 50_000)[(i * 7 + who) % 5] if i % 3 else 5
    return random.Random(who * 1_000_003 + i).randbytes(size)
"""


def kills(method):
    return KILLS if method == "fork" else KILLS // 3


@pytest.fixture
def run(run_script):
    """A function that runs a program with a start method as `ctx`, and asserts that all is well with it."""

    def run(method, text, **options):
        result = run_script(PROLOGUE + textwrap.dedent(text), method, kills(method), timeout=LIMIT, **options)
        result.check()
        return result.stdout

    return run


# Producers and consumers


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("maxsize", [0, 5])
def test_producers(run, method, maxsize):
    """All that each put arrives whole and in order, up to some point."""
    run(
        method,
        f"""
        def producer(q, who):
            i = 0
            while i < 2000:
                if i % 10 == 3:
                    q.put_many([(who, n, payload(who, n)) for n in range(i, i + 5)])
                    i += 5
                else:
                    q.put((who, i, payload(who, i)))
                    i += 1
        def consume(q, following):
            while (item := q.get()) is not None:
                who, i, content = item
                assert content == payload(who, i), f"message {{i}} of {{who}} is broken"
                assert i == following.get(who, 0), f"{{i}} of {{who}}, and not {{following.get(who, 0)}}"
                following[who] = i + 1
        if __name__ == "__main__":
            q, following, failed = ctx.Queue({maxsize}), {{}}, []
            def consumer():
                try:
                    consume(q, following)
                except BaseException as error:
                    failed.append(error)
                    raise
            thread = threading.Thread(target=consumer)
            thread.start()
            running = [start(producer, q, n) for n in range(2)]
            for n in range(2, kills + 2):
                victim = running.pop(random.randrange(2))
                kill_soon(victim)
                if random.random() < 0.5:
                    victim.join()
                running.append(start(producer, q, n))
                if failed:
                    break
            for p in running:
                p.kill()
                p.join()
            q.put((10_000_000, 0, payload(10_000_000, 0)))
            q.put(None)
            thread.join()
            assert not failed and following[10_000_000] == 1
            assert q.empty() and q.qsize() == 0
        """,
    )


@pytest.mark.parametrize("method", METHODS)
def test_consumers(run, method):
    """Nothing arrives twice or broken; each that is killed takes with it what it was working on, and no more."""
    run(
        method,
        """
        def consumer(q, results, who):
            while True:
                if who % 2:
                    i, content = q.get()
                    results.put((who, i, content == payload(0, i)))
                else:
                    for i, content in q.get_many(4):
                        results.put((who, i, content == payload(0, i)))
        if __name__ == "__main__":
            q, results = ctx.Queue(20), ctx.Queue()
            over = threading.Event()
            count = 0
            def produce():
                global count
                while not over.is_set():
                    try:
                        q.put((count, payload(0, count)), timeout=1)
                    except queue.Full:
                        continue
                    count += 1
            thread = threading.Thread(target=produce)
            thread.start()
            running = [start(consumer, q, results, n) for n in range(2)]
            for n in range(2, kills + 2):
                victim = running.pop(random.randrange(2))
                kill_soon(victim)
                if random.random() < 0.5:
                    victim.join()
                running.append(start(consumer, q, results, n))
            # The survivors are at work.
            done = results.qsize()
            while results.qsize() <= done + 50:
                time.sleep(0.01)
            over.set()
            thread.join()
            for p in running:
                while not q.empty():
                    time.sleep(0.01)
                p.kill()
                p.join()
            found = []
            while not results.empty():
                found += results.get_many(1000)
            assert all(well for _, _, well in found)
            numbers = [i for _, i, _ in found]
            assert len(numbers) == len(set(numbers)), "something arrived twice"
            assert set(numbers) <= set(range(count))
            lost = count - len(numbers)
            assert lost <= 4 * (kills + 2), f"{lost} of {count} are lost"
            for who in {who for who, _, _ in found}:
                mine = [i for w, i, _ in found if w == who]
                assert mine == sorted(mine)
        """,
    )


# Holders of locks


@pytest.mark.parametrize("name", ["Lock", "RLock"])
@pytest.mark.parametrize("method", METHODS)
def test_lock_holders(run, method, name):
    """Two values that change together: they differ only where the next holder was warned."""
    run(
        method,
        f"""
        def worker(lock, pair, counts):
            warnings.simplefilter("always")
            while True:
                with warnings.catch_warnings(record=True) as seen:
                    lock.acquire()
                if seen:
                    counts[1] += 1
                    pair[1] = pair[0]
                elif pair[0] != pair[1]:
                    counts[2] += 1
                pair[0] += 1
                pair[1] += 1
                counts[0] += 1
                lock.release()
        if __name__ == "__main__":
            lock, pair, counts = ctx.{name}(), ctx.RawArray("q", 2), ctx.RawArray("q", 3)
            running = [start(worker, lock, pair, counts) for _ in range(2)]
            for _ in range(kills):
                victim = running.pop(random.randrange(2))
                kill_soon(victim)
                if random.random() < 0.5:
                    victim.join()
                running.append(start(worker, lock, pair, counts))
            before = counts[0]
            while counts[0] == before:
                time.sleep(0.01)
            for p in running:
                p.kill()
                p.join()
            warnings.simplefilter("ignore")
            assert lock.acquire(timeout=30)
            assert counts[1] <= kills + 1, f"{{counts[1]}} warnings"
            assert counts[2] == 0, "changed by two at once"
            lock.release()
        """,
    )


@pytest.mark.parametrize("name", ["Semaphore", "BoundedSemaphore"])
@pytest.mark.parametrize("method", METHODS)
def test_semaphore_holders(run, method, name):
    run(
        method,
        f"""
        def worker(semaphore, counts, slot):
            warnings.simplefilter("ignore")
            while True:
                semaphore.acquire()
                counts[slot] += 1
                semaphore.release()
        if __name__ == "__main__":
            semaphore, counts = ctx.{name}(2), ctx.RawArray("q", 3)
            running = [start(worker, semaphore, counts, n) for n in range(3)]
            for _ in range(kills):
                slot = random.randrange(3)
                kill_soon(running[slot])
                if random.random() < 0.5:
                    running[slot].join()
                running[slot] = start(worker, semaphore, counts, slot)
            before = list(counts)
            while any(now <= then for now, then in zip(counts, before)):
                time.sleep(0.01)
            for p in running:
                p.kill()
                p.join()
            assert not procession.active_children()  # which reaps those killed before
            assert semaphore.get_value() == 2, semaphore.get_value()
            warnings.simplefilter("ignore")
            assert semaphore.acquire(False) and semaphore.acquire(False) and not semaphore.acquire(False)
        """,
    )


@pytest.mark.smoke
def test_some_kills(run):
    """The short form of all that."""
    run(
        "fork",
        """
        def work(q, results, lock):
            warnings.simplefilter("ignore")
            while True:
                item = q.get()
                with lock:
                    results.put(item)
        if __name__ == "__main__":
            warnings.simplefilter("ignore")
            q, results, lock = ctx.Queue(10), ctx.Queue(), ctx.Lock()
            for n in range(15):
                p = start(work, q, results, lock)
                for i in range(20):
                    q.put((n, i))
                p.kill()
            while not q.empty():
                p = start(work, q, results, lock)
                time.sleep(0.05)
                p.kill()
                p.join()
            found = results.get_many(10_000)
            assert len(set(found)) == len(found)
            assert lock.acquire(timeout=30)
        """,
    )


# The main process


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_nothing_is_left_of_a_killed_main_process(run_script, method):
    result = run_script(
        PROLOGUE
        + textwrap.dedent(
            """
            def child(q, lock, started):
                started.release()
                parent = procession.parent_process()
                while parent.is_alive():
                    with lock:
                        try:
                            q.put(q.get(timeout=0.05))
                        except queue.Empty:
                            pass
            if __name__ == "__main__":
                q, lock, started = ctx.Queue(), ctx.Lock(), ctx.Semaphore(0)
                q.put_many([bytes(100_000), 1, 2])
                for _ in range(3):
                    start(child, q, lock, started)
                for _ in range(3):
                    started.acquire()
                time.sleep(0.2)
                os.kill(os.getpid(), signal.SIGKILL)
            """
        ),
        method,
        0,
    )
    result.check(-9)


# The interpreter's end


WAITING = {
    "get": "q.get",
    "get_with_timeout": "lambda: q.get(timeout=1000)",
    "get_many": "lambda: q.get_many(5)",
    "put": "lambda: full.put(1)",
    "put_large": "lambda: full.put(bytes(1 << 20))",
    "lock": "lock.acquire",
    "rlock": "rlock.acquire",
    "semaphore": "semaphore.acquire",
    "poll": "lambda: q._reader.poll(None)",
    "join": "unfinished.join",
    "wait": "lambda: procession.connection.wait([q._reader])",
}


@pytest.mark.parametrize(
    "waits",
    [*([name] for name in WAITING), pytest.param(list(WAITING), marks=pytest.mark.smoke)],
    ids="-".join,
)
def test_exit_while_daemon_threads_wait(run_script, waits):
    calls = ", ".join(WAITING[name] for name in waits)
    result = run_script(
        PROLOGUE
        + textwrap.dedent(
            f"""
            import procession.connection
            q, full, unfinished = ctx.Queue(), ctx.Queue(1), ctx.JoinableQueue()
            full.put(0), unfinished.put(0)
            lock, semaphore, rlock = ctx.Lock(), ctx.Semaphore(0), ctx.RLock()
            lock.acquire(), rlock.acquire()
            for call in [{calls}]:
                threading.Thread(target=call, daemon=True).start()
            time.sleep(0.3)
            print("end")
            """
        ),
        "fork",
        0,
    )
    assert result.stdout == "end\n"
    assert result.stderr == ""
    result.check()


def test_exit_while_daemon_threads_work(run_script):
    result = run_script(
        PROLOGUE
        + textwrap.dedent(
            """
            q, lock = ctx.Queue(10), ctx.Lock()
            class Object:
                pass
            def producer():
                while True:
                    with lock:
                        pass
                    q.put([Object(), bytes(100_000)])
            def consumer():
                while True:
                    q.get()
            for target in (producer, consumer) * 2:
                threading.Thread(target=target, daemon=True).start()
            time.sleep(0.2)
            print("end")
            """
        ),
        "fork",
        0,
    )
    assert result.stdout == "end\n"
    assert result.stderr == ""
    result.check()


# Forks


def test_fork_while_threads_work(run):
    """Every object works in the child, whatever other threads were doing with it."""
    run(
        "fork",
        """
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is done with threads
        def child(q, lock, semaphore, back, n):
            with lock:
                with semaphore:
                    q.put(("child", n, bytes(n * 300)))
            ctx.Lock().acquire()
            own = ctx.Queue()
            own.put({"own": n})
            assert own.get() == {"own": n}
            back.put(n)
        if __name__ == "__main__":
            q, lock, semaphore, back = ctx.Queue(), ctx.Lock(), ctx.Semaphore(2), ctx.Queue()
            over = threading.Event()
            def work():
                while not over.is_set():
                    with lock:
                        pass
                    with semaphore:
                        q.put(["thread", 0, bytes(20_000)])
                    q.get()
                    ctx.Lock(), ctx.Queue()
            threads = [threading.Thread(target=work) for _ in range(3)]
            for t in threads:
                t.start()
            def fork(numbers):
                for n in numbers:
                    p = start(child, q, lock, semaphore, back, n)
                    p.join()
                    assert p.exitcode == 0
            forker = threading.Thread(target=fork, args=(range(1000, 1000 + kills // 2),))
            forker.start()
            fork(range(kills // 2))
            forker.join()
            over.set()
            for t in threads:
                t.join()
            assert len(back.get_many(10_000)) == kills // 2 * 2
        """,
    )


@pytest.mark.parametrize("method", METHODS)
def test_threads_that_start_and_join(run, method):
    """Each thread gets its own children's exit codes, though every start looks how all children are."""
    run(
        method,
        """
        warnings.simplefilter("ignore", DeprecationWarning)
        sys.setswitchinterval(1e-6)
        def child(n):
            sys.exit(n % 5)
        if __name__ == "__main__":
            wrong = []
            def work():
                for n in range(kills):
                    p = start(child, n)
                    p.join()
                    if p.exitcode != n % 5:
                        wrong.append((n, p.exitcode))
            threads = [threading.Thread(target=work) for _ in range(4)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            assert wrong == []
        """,
    )


def test_fork_by_hand(run):
    run(
        "fork",
        """
        q, lock, back = ctx.Queue(3), ctx.Lock(), ctx.SimpleQueue()
        lock.acquire()
        for n in range(10):
            pid = os.fork()
            if pid == 0:
                assert not lock.acquire(False)
                q.put((n, os.getpid()))
                grandchild = os.fork()
                if grandchild == 0:
                    back.put(bytes(50_000))
                    os._exit(0)
                os.waitpid(grandchild, 0)
                os._exit(n)
            assert q.get(timeout=30) == (n, pid)
            assert back.get() == bytes(50_000)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == n
        lock.release()
        assert q.empty() and lock.acquire(False)
        """,
    )


def test_fork_by_hand_while_a_thread_looks_how_children_are(run):
    run(
        "fork",
        """
        warnings.simplefilter("ignore", DeprecationWarning)
        children = [start(signal.pause, daemon=True) for _ in range(4)]
        over = threading.Event()
        def look():
            while not over.is_set():
                procession.active_children()
        looker = threading.Thread(target=look)
        looker.start()
        for _ in range(100):
            pid = os.fork()
            if pid == 0:
                signal.alarm(30)
                procession.active_children()
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        over.set()
        looker.join()
        for p in children:
            p.kill()
        """,
    )


def test_fork_by_hand_and_kill(run):
    """Who was forked by hand is waited for by nobody of ours; still its locks come back."""
    run(
        "fork",
        """
        warnings.simplefilter("ignore")
        lock, semaphore, held = ctx.Lock(), ctx.BoundedSemaphore(1), ctx.SimpleQueue()
        for _ in range(5):
            pid = os.fork()
            if pid == 0:
                lock.acquire(), semaphore.acquire()
                held.put(1)
                time.sleep(1000)
            held.get()
            os.kill(pid, signal.SIGKILL)
            assert lock.acquire(timeout=30) and semaphore.acquire(timeout=30)
            lock.release(), semaphore.release()
            os.waitpid(pid, 0)
        """,
    )


def test_exec(run):
    """Other programs, started meanwhile, get no descriptors of ours, and change nothing."""
    run(
        "fork",
        """
        if __name__ == "__main__":
            q, lock = ctx.Queue(), ctx.Lock()
            over = threading.Event()
            def work():
                while not over.is_set():
                    with lock:
                        q.put(bytes(10_000))
                        q.get()
            threads = [threading.Thread(target=work) for _ in range(2)]
            for t in threads:
                t.start()
            for n in range(kills // 2):
                result = subprocess.run(["ls", "/proc/self/fd"], capture_output=True, text=True, close_fds=n % 2 == 0)
                assert result.returncode == 0 and result.stdout.split() == ["0", "1", "2", "3"], result.stdout
            if os.fork() == 0:
                os.execvp("true", ["true"])
            assert os.wait()[1] == 0
            over.set()
            for t in threads:
                t.join()
            q.put(1)
            assert q.get(timeout=30) == 1 and lock.acquire(timeout=30)
        """,
    )


def test_exec_of_the_holder(run):
    """A process that becomes another program leaves the program: what it held comes back when it ends at the latest."""
    run(
        "fork",
        """
        def child(lock, held):
            lock.acquire()
            held.put(1)
            os.execvp("sleep", ["sleep", "0.5"])
        if __name__ == "__main__":
            warnings.simplefilter("ignore")
            lock, held = ctx.Lock(), ctx.Queue()
            p = start(child, lock, held)
            held.get()
            assert lock.acquire(timeout=30)
            p.join()
        """,
    )

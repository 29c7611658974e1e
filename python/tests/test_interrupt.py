"""Ctrl-C and other signals, in every wait: `KeyboardInterrupt` at once, with nothing lost or left locked."""

import textwrap

import pytest

METHODS = ["fork", "spawn", "forkserver"]
pytestmark = pytest.mark.watchdog(120)

PROLOGUE = """\
import os, queue, signal, subprocess, sys, threading, time
import procession
ctx = procession.get_context(sys.argv[1])

def ctrl_c_soon():
    # From a process group of its own to ours, as a terminal sends it.
    subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -INT -{os.getpgid(0)}"], process_group=0)

class interrupted:
    def __enter__(self):
        ctrl_c_soon()
    def __exit__(self, kind, error, trace):
        assert kind is KeyboardInterrupt, f"{kind}, and not KeyboardInterrupt"
        return True
"""

# For each wait: how it begins, the wait, and what must be true after it.
WAITS = {
    "put": (
        "q = ctx.Queue(1); q.put(1)",
        "q.put(2)",
        "assert q.get() == 1 and q.empty(); q.put(3); assert q.get() == 3",
    ),
    "put_large": (
        "q = ctx.Queue(1); q.put(1)",
        "q.put(bytes(1 << 20))",
        "assert q.get() == 1 and q.empty(); q.put(3); assert q.get() == 3",
    ),
    "put_with_timeout": (
        "q = ctx.Queue(1); q.put(1)",
        "q.put(2, timeout=1000)",
        "assert q.get() == 1 and q.empty()",
    ),
    "put_many": ("q = ctx.Queue(2)", "q.put_many(range(10))", "assert q.get_many(9) == [0, 1] and q.empty()"),
    "get": ("q = ctx.Queue()", "q.get()", "q.put(3); assert q.get() == 3"),
    "get_with_timeout": ("q = ctx.Queue()", "q.get(timeout=1000)", "q.put(3); assert q.get() == 3"),
    "get_many": ("q = ctx.Queue()", "q.get_many(5)", "q.put(3); assert q.get_many(5) == [3]"),
    "simple_queue": ("q = ctx.SimpleQueue()", "q.get()", "q.put(3); assert q.get() == 3"),
    "lock": (
        "lock = ctx.Lock(); lock.acquire()",
        "lock.acquire()",
        "lock.release(); assert lock.acquire(False); assert not lock.acquire(False)",
    ),
    "lock_with": (
        "lock = ctx.Lock(); lock.acquire()",
        "with lock: pass",
        "lock.release(); assert lock.acquire(False)",
    ),
    "lock_with_timeout": (
        "lock = ctx.Lock(); lock.acquire()",
        "lock.acquire(timeout=1000)",
        "lock.release()",
    ),
    "rlock": (
        "lock = ctx.RLock(); t = threading.Thread(target=lock.acquire); t.start(); t.join(); keep = t",
        "lock.acquire()",
        "assert not lock.acquire(False) and lock._semlock._count() == 1",
    ),
    "semaphore": (
        "s = ctx.Semaphore(1); s.acquire()",
        "s.acquire()",
        "assert s.get_value() == 0; s.release(); assert s.acquire(False) and not s.acquire(False)",
    ),
    "bounded_semaphore": (
        "s = ctx.BoundedSemaphore(1); s.acquire()",
        "s.acquire(timeout=1000)",
        "s.release(); assert s.get_value() == 1",
    ),
    "join_of_queue": (
        "q = ctx.JoinableQueue(); q.put(1)",
        "q.join()",
        "assert q.get() == 1; q.task_done(); q.join()",
    ),
    "poll": (
        "q = ctx.Queue()",
        "q._reader.poll(None)",
        "q.put(3); assert q._reader.poll(0) and q.get() == 3",
    ),
    "poll_with_timeout": ("q = ctx.Queue()", "q._reader.poll(1000)", "q.put(3); assert q.get() == 3"),
    "wait": (
        "from procession.connection import wait; q = ctx.Queue()",
        "wait([q._reader])",
        "q.put(3); assert wait([q._reader], 30) and q.get() == 3",
    ),
    "event": ("e = ctx.Event()", "e.wait()", "e.set(); assert e.wait(30)"),
    "condition": (
        "c = ctx.Condition(); c.acquire()",
        "c.wait()",
        "c.release(); assert c.acquire(False); c.notify(); c.release()",
    ),
}


def body(wait):
    before, waiting, after = WAITS[wait]
    return f"{before}\nwith interrupted():\n    {waiting}\n{after}\nos.write(1, b'well\\n')\n"


SMOKE = {"get", "put", "lock"}


@pytest.mark.parametrize(
    "wait", [pytest.param(w, marks=[pytest.mark.smoke] if w in SMOKE else []) for w in WAITS]
)
def test_in_the_main_process(run_script, wait):
    result = run_script(PROLOGUE + body(wait), "fork", timeout=30)
    assert result.stdout == "well\n", result.stderr
    result.check()


@pytest.mark.parametrize("method", METHODS)
def test_in_children(run_script, method):
    """A child for each wait: one signal interrupts them all, and their parent, which waits for them."""
    functions = "\n".join(
        f"def wait_{name}(ready):\n"
        + textwrap.indent(
            body(name).replace("with interrupted():", "ready.release()\nwith interrupted():"), "    "
        )
        for name in WAITS
    )
    program = (
        PROLOGUE.replace("    subprocess.Popen", "    return\n    subprocess.Popen")  # one signal for all
        + functions
        + textwrap.dedent(
            """
            if __name__ == "__main__":
                ready = ctx.Semaphore(0)
                functions = [f for name, f in sorted(globals().items()) if name.startswith("wait_")]
                children = [ctx.Process(target=f, args=(ready,)) for f in functions]
                for p in children:
                    p.start()
                for p in children:
                    assert ready.acquire(timeout=60)
                subprocess.Popen(["sh", "-c", f"sleep 1; kill -INT -{os.getpgid(0)}"], process_group=0)
                try:
                    children[0].join()
                    time.sleep(1000)
                except KeyboardInterrupt:
                    pass
                for p in children:
                    p.join()
                print([(f.__name__, p.exitcode) for f, p in zip(functions, children) if p.exitcode])
            """
        )
    )
    result = run_script(program, method, timeout=90)
    assert result.stdout.endswith("[]\n"), result.stdout + result.stderr
    assert result.stdout.count("well\n") == len(WAITS)
    result.check()


@pytest.mark.parametrize("method", METHODS)
def test_join_of_a_process(run_script, method):
    result = run_script(
        PROLOGUE
        + textwrap.dedent(
            """
            def child(ready, go):
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                ready.put(1)
                go.get()
            if __name__ == "__main__":
                ready, go = ctx.Queue(), ctx.Queue()
                p = ctx.Process(target=child, args=(ready, go))
                p.start()
                ready.get()
                with interrupted():
                    p.join()
                assert p.is_alive()
                go.put(1)
                p.join()
                assert p.exitcode == 0
            """
        ),
        method,
    )
    result.check()


def test_uncaught(run_script):
    """A program that does not handle it ends by the signal."""
    result = run_script(PROLOGUE + "q = ctx.Queue()\nctrl_c_soon()\nq.get()\n", "fork")
    assert result.stderr.splitlines()[-1] == "KeyboardInterrupt"
    result.check(-2)


# Handlers that do not raise

HANDLED = {
    "get": (
        "q = ctx.Queue()",
        "q.get(timeout=T)",
        "threading.Timer(1, q.put, (7,)).start(); assert q.get() == 7",
    ),
    "put": (
        "q = ctx.Queue(1); q.put(1)",
        "q.put(2, timeout=T)",
        "threading.Timer(1, q.get).start(); q.put(2); assert q.get() == 2",
    ),
    "get_many": (
        "q = ctx.Queue()",
        "q.get_many(3, timeout=T)",
        "threading.Timer(1, q.put, (7,)).start(); assert q.get_many(3) == [7]",
    ),
    "lock": (
        "lock = ctx.Lock(); lock.acquire()",
        "assert lock.acquire(timeout=T) is False",
        "threading.Timer(1, lock.release).start(); assert lock.acquire()",
    ),
    "semaphore": (
        "s = ctx.Semaphore(0)",
        "assert s.acquire(timeout=T) is False",
        "threading.Timer(1, s.release).start(); assert s.acquire() and s.get_value() == 0",
    ),
    "rlock": (
        "lock = ctx.RLock(); t = threading.Thread(target=lock.acquire); t.start(); t.join()",
        "assert lock.acquire(timeout=T) is False",
        "",
    ),
    "poll": (
        "q = ctx.Queue()",
        "assert q._reader.poll(T) is False",
        "threading.Timer(1, q.put, (7,)).start(); assert q._reader.poll(None) and q.get() == 7",
    ),
    "join": (
        "q = ctx.JoinableQueue(); q.put(1)",
        "time.sleep(T)",
        "threading.Timer(1, q.task_done).start(); q.join()",
    ),
}


@pytest.mark.parametrize(
    "wait", [pytest.param(w, marks=[pytest.mark.smoke] if w == "get" else []) for w in HANDLED]
)
def test_handler_runs_and_the_wait_goes_on(run_script, wait):
    before, timed, endless = HANDLED[wait]
    program = f"""\
T = 0.7
{before}
seen = 0
def handler(*_):
    global seen
    seen += 1
    ctx.Lock().acquire()  # may use the engine itself
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
start = time.monotonic()
try:
    {timed}
except (queue.Empty, queue.Full):
    pass
took = time.monotonic() - start
assert took >= T, took
assert seen >= 2, seen
seen = 0
{endless}
signal.setitimer(signal.ITIMER_REAL, 0)
print(seen)
"""
    result = run_script(PROLOGUE + program, "fork", timeout=30)
    result.check()
    assert int(result.stdout) >= 2 or wait == "rlock"


def test_handler_that_uses_the_same_queue(run_script):
    result = run_script(
        PROLOGUE
        + """\
q = ctx.Queue()
signal.signal(signal.SIGALRM, lambda *_: q.put("from the handler"))
signal.setitimer(signal.ITIMER_REAL, 0.3)
print(q.get())
""",
        "fork",
        timeout=30,
    )
    result.check()
    assert result.stdout == "from the handler\n"


def test_handler_that_raises_something_else(run_script):
    result = run_script(
        PROLOGUE
        + """\
class Alarm(Exception):
    pass
def handler(*_):
    raise Alarm
signal.signal(signal.SIGALRM, handler)
q, lock = ctx.Queue(), ctx.Lock()
lock.acquire()
for call in (q.get, lock.acquire, lambda: q._reader.poll(None)):
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        call()
    except Alarm:
        print("Alarm")
""",
        "fork",
        timeout=30,
    )
    result.check()
    assert result.stdout == "Alarm\n" * 3


def test_in_a_child_forked_by_hand_before_anything_was_shared(run_script):
    """The child's main thread is not the parent's: the wait for the pipe has cached the parent's before."""
    run_script(
        """
        import os, signal
        import procession
        class Stop(Exception):
            pass
        def stop(*_):
            raise Stop
        r, w = procession.Pipe(False)
        assert not r.poll(0.01)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGALRM, stop)
            queue = procession.SimpleQueue()
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            try:
                queue.get()
            except Stop:
                os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        """,
        timeout=30,
    ).check()

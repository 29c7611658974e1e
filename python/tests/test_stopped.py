"""Processes that are stopped in the middle of a change to shared memory, and calls that take long.

Neither keeps the other threads of a program from running, nor their waits from ending.
"""

import textwrap

import pytest

METHODS = ["fork", "spawn", "forkserver"]
pytestmark = pytest.mark.watchdog(200)

PROLOGUE = """\
import os, pickle, queue, random, signal, sys, threading, time
import procession
from procession import _engine
ctx = procession.get_context(sys.argv[1])

def state(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]

def stop(child):
    os.kill(child.pid, signal.SIGSTOP)
    while state(child.pid) != "T":
        time.sleep(0)

def resume(child):
    os.kill(child.pid, signal.SIGCONT)

def stop_in_a_change(child, probe):
    # `probe` raises TimeoutError if it needs what the child is in the middle of changing. Otherwise it returns a function,
    # which is called when the child runs again. A few stops in a hundred suffice.
    for _ in range(3000):
        time.sleep(0.002 * random.random())
        stop(child)
        try:
            undo = probe()
        except TimeoutError:
            return
        resume(child)
        undo()
    sys.exit("it was never stopped in the middle of a change")

class Ticker(threading.Thread):
    # A thread that notes when it ran.
    def __init__(self):
        super().__init__(daemon=True)
        self.stamps = []
        self.start()

    def run(self):
        while True:
            self.stamps.append(time.monotonic())
            time.sleep(0.0005)

    def ran_during(self, work, *args):
        # Whether it ran in the middle of `work`: at its beginning and end the interpreter may change hands in any case.
        begin = time.monotonic()
        work(*args)
        quarter = (time.monotonic() - begin) / 4
        return any(begin + quarter < stamp < begin + 3 * quarter for stamp in list(self.stamps))

def times_out(work, *args, **options):
    try:
        work(*args, **options)
    except TimeoutError:
        return
    sys.exit("it did not end with TimeoutError")
"""

# What the child does over and over; what tells that it was stopped in the middle; what ends with TimeoutError then.
HAMMERS = {
    "put": (
        "q.put_many([b'x' * 100] * 200)",
        "q.put(b'probe', timeout=0.01); put += 1; return lambda: None",
        "q.put(b'y', timeout=0.2)",
    ),
    "get": (
        "q.put_many([b'x' * 100] * 200)",
        "try: taken = q.get(timeout=0.01)\n    except queue.Empty: return lambda: None\n    return lambda: q.put(taken)",
        "q.get(timeout=0.2)",
    ),
    "large": (
        "q.put_many([bytes(70_000)] * 20)",
        "other.put(bytes(10_000), timeout=0.01); other.get(); return lambda: None",
        "other.put(bytes(70_000), timeout=0.2)",
    ),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("hammer", HAMMERS)
def test_stopped_in_a_queue(run_script, hammer, method):
    """Waits end in time, and by Ctrl-C; other threads run meanwhile; nothing is lost when the process goes on."""
    puts, probe, late = HAMMERS[hammer]
    program = f"""
q, other, over = ctx.Queue(), ctx.Queue(), ctx.Event()
put = 0

def work(q, over):
    while not over.is_set():
        {puts}
        for _ in range({20 if hammer == "large" else 200}):
            assert q.get()[:1] in (b"x", b"p", b"\\0")

def probe():
    global put
    {probe}

def late():
    times_out(lambda: {late})

def interrupted():
    # A second is the most that anybody is waited for who does not run; so the signal has a few tries.
    for _ in range(20):
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            {late.replace("timeout=0.2", "timeout=None")}
        except KeyboardInterrupt:
            return True
        except TimeoutError:
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                pass
    return False
""" + textwrap.dedent(
        f"""
        if __name__ == "__main__":
            q.put(b"p")
            child = ctx.Process(target=work, args=(q, over))
            child.start()
            ticker = Ticker()
            stop_in_a_change(child, probe)
            try:
                assert any(ticker.ran_during(late) for _ in range(20)), "the other thread stood still"
                assert {hammer == "large"} or interrupted(), "Ctrl-C did not end it"
                assert q.qsize() >= 0 and not q.full() and isinstance(q.empty(), bool)
            finally:
                resume(child)
            # Not before it goes on: nothing that a message needs is missing.
            over.set()
            child.join()
            assert child.exitcode == 0
            print(q.qsize() - put)
            while not q.empty():
                assert q.get() in (b"p", b"probe", b"x" * 100, bytes(70_000))
        """
    )
    result = run_script(PROLOGUE + program, method, timeout=120)
    assert result.stdout == "1\n", result.stdout + result.stderr
    result.check()


@pytest.mark.parametrize("method", METHODS)
def test_making_and_dropping(run_script, method):
    """A process is stopped in a transaction, which all making and dropping needs. The other threads run."""
    result = run_script(
        PROLOGUE
        + textwrap.dedent(
            """
            def work(ready):
                ready.set()
                while True:
                    ctx.Lock()

            class Holder:
                pass

            if __name__ == "__main__":
                ready = ctx.Event()
                child = ctx.Process(target=work, args=(ready,))
                child.start()
                ready.wait()
                other, condition, barrier = ctx.Queue(), ctx.Condition(), ctx.Barrier(2)
                things = {
                    "queue": ctx.Queue, "lock": ctx.Lock, "semaphore": ctx.Semaphore, "event": ctx.Event,
                    "value": lambda: ctx.Value("i"), "large array": lambda: ctx.RawArray("i", 100_000),
                }
                kept = {name: make() for name, make in things.items()}
                shared = ctx.Queue(zero_copy=True)
                shared.put(pickle.PickleBuffer(bytearray(20_000)))
                kept["buffer"] = shared.get()
                ticker = Ticker()

                def probe():
                    other.put(bytes(10_000), timeout=0.01)
                    other.get()
                    return lambda: None

                stop_in_a_change(child, probe)
                try:
                    for name, make in things.items():
                        assert ticker.ran_during(times_out, make), name
                    assert ticker.ran_during(times_out, barrier.abort), "barrier"
                    for name in list(kept):
                        assert ticker.ran_during(kept.pop, name), f"dropping of {name}"
                finally:
                    resume(child)
                for name, make in things.items():
                    make()
                barrier.abort()
                assert barrier.broken
                other.put(1)
                assert other.get() == 1
                child.kill()
                child.join()
                print("well")
            """
        ),
        method,
        timeout=120,
    )
    assert result.stdout == "well\n", result.stdout + result.stderr
    result.check()


@pytest.mark.parametrize("method", METHODS)
def test_a_thread_that_drops_something_keeps_no_other_from_running(run_script, method):
    """While it waits for who is stopped, another thread, which has the interpreter, receives something."""
    result = run_script(
        PROLOGUE
        + textwrap.dedent(
            """
            def work(ready):
                ready.set()
                while True:
                    ctx.Lock()

            def receive(ticket):
                _engine.Lock()._resolve(ticket)

            if __name__ == "__main__":
                ready = ctx.Event()
                child = ctx.Process(target=work, args=(ready,), daemon=True)
                child.start()
                ready.wait()
                other, kept = ctx.Queue(), ctx.Lock()
                ticket, doomed = kept._semlock._handle_ref(), [ctx.Lock() for _ in range(6)]
                ticker = Ticker()

                def probe():
                    other.put(bytes(10_000), timeout=0.01)
                    other.get()
                    return lambda: None

                def drops(begun, spans):
                    begin = time.monotonic()
                    begun.set()
                    doomed.pop()
                    spans.append((begin, time.monotonic()))

                stop_in_a_change(child, probe)
                try:
                    while doomed:
                        begun, spans = threading.Event(), []
                        thread = threading.Thread(target=drops, args=(begun, spans))
                        thread.start()
                        begun.wait()
                        times_out(receive, ticket)
                        thread.join()
                        (begin, end), = spans
                        quarter = (end - begin) / 4
                        stamps = list(ticker.stamps)
                        assert any(begin + quarter < stamp < end - quarter for stamp in stamps), "it stood still"
                finally:
                    resume(child)
                receive(ticket)
                child.kill()
                child.join()
                print("well")
            """
        ),
        method,
        timeout=120,
    )
    assert result.stdout == "well\n", result.stdout + result.stderr
    result.check()


# Much memory

SIZE = 512 << 20


def test_pages_are_made_and_freed_beside_other_threads(run_script):
    """While a large message is made, other threads see it grow; and they run while it is freed."""
    result = run_script(
        PROLOGUE
        + textwrap.dedent(
            f"""
            def put_and_look(q, data):
                # Sizes that another thread saw while the message was made.
                before, seen, over = _engine.resident_bytes(), [], threading.Event()
                def look():
                    while not over.is_set():
                        seen.append(_engine.resident_bytes() - before)
                        time.sleep(0.0005)
                thread = threading.Thread(target=look)
                thread.start()
                q.put(data)
                over.set()
                thread.join()
                return any({SIZE} // 8 < size < {SIZE} * 7 // 8 for size in seen)

            q = ctx.Queue()
            ticker = Ticker()
            # Now and then the other thread has no processor.
            for kind in (bytes, bytearray):
                data = kind({SIZE})
                for _ in range(5):
                    grew = put_and_look(q, data)
                    assert len(q.get()) == {SIZE}
                    if grew:
                        break
                assert grew, f"nobody ran while pages were made for {{kind.__name__}}"
            views = ctx.Queue(zero_copy=True)
            for _ in range(10):
                views.put(pickle.PickleBuffer(bytearray({SIZE})))
                view = [views.get()]
                ran = ticker.ran_during(view.clear)
                if ran:
                    break
            assert ran, "nobody ran while pages were given back"
            print("well")
            """
        ),
        "fork",
        timeout=150,
    )
    assert result.stdout == "well\n", result.stdout + result.stderr
    result.check()

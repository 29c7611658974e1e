"""A process that is stopped (SIGSTOP, a debugger, `docker pause`) anywhere delays no other beyond its timeout."""

import pytest

# What the one that is stopped does all the time, what others ask meanwhile, and how often it is stopped: a stop meets a
# critical section with a probability of 7 to 20 percent.
KINDS = {
    "small_messages": ("q.put(b'y' * 100); q.get()", "q.put(b'probe', timeout=0.2)", 30),
    "large_messages": (
        "q.put(b'y' * 70_000); q.get()",
        "other.put(b'z' * 70_000, timeout=0.2); other.get(timeout=0.2)",
        30,
    ),
    "making_locks": ("ctx.Lock()", "ctx.Lock()", 20),
}


@pytest.mark.parametrize("interrupted", [False, True], ids=["deadline", "ctrl_c"])
@pytest.mark.parametrize("kind", KINDS)
def test_others_get_an_answer_while_a_process_is_stopped(program, kind, interrupted):
    """A deadline is kept, Ctrl-C works, and other threads run: nobody waits with the interpreter lock held."""
    work, ask, stops = KINDS[kind]
    if interrupted:
        # To the one that asks for as long as it takes.
        ask = ask.replace(", timeout=0.2", "").replace("timeout=0.2", "")
    program(
        f"""
        import threading
        import procession as mp
        ctx = mp.get_context("fork")
        q, other = ctx.Queue(), ctx.Queue()

        def worker():
            while True:
                {work}

        def prober(orders, answers):
            ticks, asking = 0, False
            def tick():
                nonlocal ticks
                while True:
                    time.sleep(0.005)
                    ticks += 1
            def interrupt(*_):
                # It may come when the answer has been given already.
                if asking:
                    raise KeyboardInterrupt
            signal.signal(signal.SIGINT, interrupt)
            threading.Thread(target=tick, daemon=True).start()
            while True:
                orders.hear(1000)
                before, begin, said = ticks, time.monotonic(), "ok"
                try:
                    try:
                        asking = True
                        {ask}
                    except Exception as error:
                        said = repr(error)
                    asking = False
                except KeyboardInterrupt:
                    asking, said = False, "interrupted"
                stood_still = ticks - before < 3 and time.monotonic() - begin > 0.15
                answers.tell(f"{{stood_still:d}} {{said}}")

        orders, answers = Teller(), Teller()
        probe = ctx.Process(target=prober, args=(orders, answers))
        probe.start()
        stopped = ctx.Process(target=worker)
        stopped.start()
        time.sleep(0.3)
        held = 0
        for turn in range({stops}):
            time.sleep(0.002 + (turn * 7919 % 1000) / 1e6)
            os.kill(stopped.pid, signal.SIGSTOP)
            until(lambda: state_of(stopped.pid) == "T")
            orders.tell()
            answer = answers.hear(0.4 if {interrupted} else 8)
            if answer is None and {interrupted}:
                os.kill(probe.pid, signal.SIGINT)
                answer = answers.hear(8)
            os.kill(stopped.pid, signal.SIGCONT)
            check(answer, f"stop {{turn + 1}}: no answer until the stopped process went on")
            stood_still, said = answer.split(" ", 1)
            if said != "ok":
                held += 1
                check(stood_still == "0", f"no other thread ran meanwhile: {{answer}}")
                check("interrupted" in said or str(stopped.pid) in said or "Timeout" in said or "Full" in said
                      or "Empty" in said, said)
        for p in (stopped, probe):
            p.kill()
            p.join()
        print(f"{{held}} of {stops} stops held others up")
        print("ok")
        """
    )


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_waiting_for_a_dead_child_that_is_traced_ends_at_its_deadline(program, method):
    """Until its tracer has collected it, it cannot be collected."""
    program(
        """
        import procession as mp

        if __name__ == "__main__":
            PTRACE_SEIZE = 0x4206
            p = mp.get_context(sys.argv[1]).Process(target=time.sleep, args=(100,))
            p.start()
            time.sleep(0.3)
            told, over = Teller(), Teller()
            tracer = os.fork()
            if tracer == 0:
                told.tell(str(LIBC.ptrace(PTRACE_SEIZE, p.pid, None, None)))
                over.hear(6)
                os._exit(0)
            if told.hear() != "0":
                skip("ptrace is not allowed")
            p.kill()
            time.sleep(0.2)
            cpu = time.process_time()
            p.join(0.2)
            cpu = time.process_time() - cpu
            traced = state_of(tracer) not in ("Z", "")
            check(traced, "join(0.2) came back when the tracer had ended")
            check(p.is_alive() in (True, False))
            check(state_of(tracer) not in ("Z", ""), "is_alive() came back when the tracer had ended")
            check(cpu < 0.1, f"{cpu:.2f} s of processor time for a wait of 0.2 s")
            over.tell()
            os.waitpid(tracer, 0)
            p.join(LATE)
            check(p.exitcode == -9, p.exitcode)
            print("ok")
        """,
        method,
    )


STUCK = """
import threading
import procession as mp
from procession import sharedctypes
ctx = mp.get_context("fork")
other, probe = ctx.Queue(), ctx.Queue()

def hammer():
    while True:
        other.put(bytes(10_000))
        other.get()

def is_stuck():
    try:
        probe.put(bytes(10_000), timeout=0.01)
        probe.get()
        return False
    except TimeoutError:
        return True

def stop_in_a_transaction(process, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.003)
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.002)
        if is_stuck():
            return True
        os.kill(process.pid, signal.SIGCONT)
    return False

def arrays(count):
    made = [sharedctypes.RawArray("B", 1900) for _ in range(count)]
    for array in made:
        array[:] = b"\\xff" * 1900
    return made
"""


def test_what_a_wait_leaves_behind_writes_into_nothing_of_others(program):
    """A wait ends while a process is stopped, and cannot remove its entry from the queue's list of registrations."""
    program(
        STUCK
        + """
stopped = ctx.Process(target=hammer, daemon=True)
stopped.start()
told, watched = ctx.Event(), ctx.Queue()

def wait():
    global watched
    try:
        mp.connection.wait([watched], 3)
    except TimeoutError:
        pass
    told.wait(LATE)
    watched = None
    gc.collect()
    for _ in range(2):
        mp.Lock()
    time.sleep(0.5)

waits = ctx.Process(target=wait)
waits.start()
time.sleep(0.5)
if not stop_in_a_transaction(stopped, 2):
    skip("it was never stopped in the middle of a change")
time.sleep(5)
os.kill(stopped.pid, signal.SIGKILL)
stopped.join()
told.set()
watched = None
gc.collect()
others = arrays(70)
waits.join()
check(all(bytes(array) == b"\\xff" * 1900 for array in others), "somebody has written into them")
print("ok")
""",
        timeout=90,
    )


def test_waits_of_new_threads_keep_their_deadlines_beside_a_stopped_process(program):
    """A thread's first wait makes a waiter record and looks for dead processes: both need the engine's locks."""
    program(
        STUCK
        + """
quiet, lock = ctx.Queue(), ctx.Lock()
lock.acquire()
stopped = ctx.Process(target=hammer, daemon=True)
stopped.start()
if not stop_in_a_transaction(stopped, 10):
    skip("it was never stopped in the middle of a change")

def took(ask):
    spans = []
    def run():
        begin = time.monotonic()
        try:
            ask()
        except (queue.Empty, TimeoutError):
            pass
        spans.append(time.monotonic() - begin)
    for _ in range(3):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    return min(spans)

for name, ask in {
    "get": lambda: quiet.get(timeout=0.05),
    "acquire": lambda: lock.acquire(timeout=0.05),
    "wait": lambda: mp.connection.wait([quiet], 0.05),
}.items():
    span = took(ask)
    check(span < 0.9, f"{name} of 0.05 s took {span:.2f} s at best")
os.kill(stopped.pid, signal.SIGKILL)
stopped.join()
print("ok")
""",
        timeout=90,
    )

"""The cases of `ground.py`. Each case is a function that a fresh program calls once."""

import importlib
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

from ground_tools import (
    MIB,
    child_that_aborts,
    effort_of,
    forked,
    no_core_files,
    rest,
    running,
)

STANDARD, EARLIER, OWN = "standard library", "earlier", "procession"

# The maximum time of a round trip between processes on two processors.
QUICK_TRIP = 5.0


class Skipped(Exception):
    """The case cannot be measured here; the text says why."""


@dataclass(frozen=True)
class Goal:
    """A target of at most, or at least, `amount`: a multiple of what `of` names, or a value in the figure's
    own unit.

    `of` is a contender, for the same figure of that contender; or the name of another figure, of another
    `case` if that is given.
    """

    amount: float
    of: str = ""
    case: str = ""
    least: bool = False

    def text(self, figure):
        sign = "≥" if self.least else "≤"
        if not self.of:
            return f"{sign} {self.amount:g} {figure.unit}".strip()
        place = f"{self.case}: {self.of}" if self.case else self.of
        return f"{sign} {self.amount:g} × {place}"

    def reached(self, results, case, figure):
        """Returns whether the goal is met; `None` if it was not measured."""
        own = results.median(case.name, figure.name, OWN)
        if self.of in (STANDARD, EARLIER):
            other = results.median(case.name, figure.name, self.of)
        elif self.of:
            other = results.median(self.case or case.name, self.of, OWN)
        else:
            other = 1.0
        if own is None or other is None:
            return None
        return own >= self.amount * other if self.least else own <= self.amount * other


at_most = Goal
at_least = partial(Goal, least=True)


@dataclass(frozen=True)
class Figure:
    """A number that a case returns, and its target."""

    name: str
    unit: str = ""
    goals: tuple[Goal, ...] = ()


@dataclass(frozen=True)
class Case:
    """`run` takes a context, the engine (`None` for the standard library) and whether to run quickly."""

    name: str
    figures: tuple[Figure, ...]
    run: Callable


def measure_here(name, package, quick):
    """Returns the figures of a case, by name."""
    (case,) = [case for case in CASES if case.name == name]
    if package:
        context = importlib.import_module(package).get_context("fork")
        engine = importlib.import_module(f"{package}._engine")
    else:
        context, engine = multiprocessing.get_context("fork"), None
    values = case.run(context, engine, quick)
    answer = dict(zip([figure.name for figure in case.figures], values, strict=True))
    return {figure: value for figure, value in answer.items() if value is not None}


def alive(context, engine, quick, *, processes):
    """Asks whether each child in turn is alive."""
    if engine is None:
        raise Skipped("it has no such question")
    if not (hasattr(engine, "is_alive") and hasattr(engine, "last_child")):
        raise Skipped("not to be asked from Python: `cargo xtask bench -- --only alive`")
    context.Queue()
    numbers = []
    with forked(processes - 1, rest, lambda: numbers.append(engine.last_child())) as pids:
        time.sleep(1)  # until all of them have started
        children = list(zip(numbers, pids, strict=True))
        times = []
        for _ in range(3 if quick else 10):
            begin = time.perf_counter()
            questions = 0
            while questions < 2000:
                for number, pid in children:
                    if not engine.is_alive(number, pid):
                        raise AssertionError(f"child {number} lives, but is said not to")
                questions += len(children)
            times.append((time.perf_counter() - begin) / questions)
    return [median(times) * 1e6]


def fork_and_wait(context, engine, quick, *, objects=0, hold=False):
    """Measures a fork in a program that has made many objects. The interpreter's own locks stand for the
    standard library's, of which there cannot be so many.
    """
    import threading

    queue = context.Queue()
    make = context.Lock if engine else threading.Lock
    held = [make() for _ in range(objects // 10 if quick else objects)]
    if not hold:
        held.clear()
    times = []
    for _ in range(10 if quick else 40):
        begin = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        times.append(time.perf_counter() - begin)
    del queue
    return [median(times[3:]) * 1e6]


def idle(context, engine, quick, *, queues):
    """Measures 100 consumers that wait for messages that never come."""
    waited = [context.Queue() for _ in range(queues)]
    with running(context, lambda n: waited[n % queues].get(), 100) as pids:
        return effort_of(pids, quick)


def permit(context, engine, quick, *, kind):
    """Measures a process that waits for a permit that another keeps, in a program of 800 processes."""
    wanted = getattr(context, kind)()

    def keep():
        wanted.acquire()
        rest()

    with forked(1, keep), forked(798, rest):
        while wanted.acquire(False):
            wanted.release()
            time.sleep(0.01)
        with running(context, lambda _: wanted.acquire(), 1) as pids:
            return effort_of(pids, quick)


def turns(context, engine, quick, *, processes, section):
    """Lets all processes take a lock again and again, and keep it for `section` seconds."""
    lock = context.Lock()
    plain = multiprocessing.get_context("fork")
    start, answers = plain.Barrier(processes), plain.SimpleQueue()
    span = 1 if quick else 3

    def take_turns(_):
        start.wait()
        now = time.perf_counter
        end, count, worst = now() + span, 0, 0.0
        while (begin := now()) < end:
            with lock:
                worst = max(worst, now() - begin)
                count += 1
                if section:
                    until = now() + section
                    while now() < until:
                        pass
        answers.put((count, worst))

    with running(context, take_turns, processes):
        all_of_them = [answers.get() for _ in range(processes)]
    shares = sorted(count for count, _ in all_of_them)
    worst = max(worst for _, worst in all_of_them)
    return [sum(shares) / span, shares[0], median(shares), shares[-1], worst * 1e3]


def core_file(context, engine, quick):
    """Measures a child that aborts while it holds a lock of a program with much shared memory. The standard
    library's program has no shared memory, and its lock would never be released.
    """
    limit = 3 << 30
    if reason := no_core_files(limit):
        raise Skipped(reason)
    lock, queue = context.Lock(), context.Queue()
    if engine:
        queue.put(bytes((64 if quick else 1024) * MIB))
    before = engine.resident_bytes() if engine else None
    with child_that_aborts(limit, lock.acquire) as child:
        free = None
        if engine:
            begin = time.perf_counter()
            if not lock.acquire(timeout=240):
                raise AssertionError("the lock of the dead did not come free")
            free = (time.perf_counter() - begin) * 1e3
        size = child.size_of_core()
    after = engine.resident_bytes() if engine else None
    return [size / MIB, before and before / MIB, before and (after - before) / MIB, free]


def virtual_size(context, engine, quick):
    """Measures a program that has made one queue, minus an interpreter that does nothing."""
    tell = "print(next(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmSize')))"
    package = (
        context.Queue.__module__.partition(".")[0] if engine is None else engine.__name__.rpartition(".")[0]
    )
    make = f"import {package}; queue = {package}.get_context('fork').Queue()"

    def size(code):
        return (
            int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout) / 1024
        )

    return [size(f"{make}\n{tell}") - size(tell)]


def round_trips(context, engine, quick, *, processors):
    """Measures runs of freshly forked processes, each right after a run of the standard library."""
    if processors == 1:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    elif len(os.sched_getaffinity(0)) == 1:
        raise Skipped("there is one processor")
    runs = (20 if quick else 100) if processors > 1 else 20
    plain = multiprocessing.get_context("fork")
    medians = []
    for _ in range(runs):
        if engine:
            run_of_trips(plain, 1000 if quick else 3000)
        medians.append(run_of_trips(context, 1000 if quick else 3000) * 1e6)
    if processors == 1:
        return [median(medians)]
    return [median(medians), max(medians), 100 * sum(each > QUICK_TRIP for each in medians) / runs]


def run_of_trips(context, trips):
    """Returns the median time of a round trip in seconds."""
    there, back = context.SimpleQueue(), context.SimpleQueue()

    def echo():
        for _ in range(trips):
            back.put(there.get())

    child = context.Process(target=echo)
    child.start()
    now = time.perf_counter
    times = []
    for number in range(trips):
        begin = now()
        there.put(number)
        back.get()
        times.append(now() - begin)
    child.join()
    return median(times)


EFFORT = (
    Figure("switches a second", "", (at_most(4),)),
    Figure("processor time a second", "ms", (at_most(0.3),)),
)


def turn_figures(speed=(), least=(), worst=()):
    return (
        Figure("sections a second", "", speed),
        Figure("least share", "", least),
        Figure("median share"),
        Figure("largest share"),
        Figure("worst wait", "ms", worst),
    )


MANY = turn_figures(least=(at_least(0.5, "median share"),), worst=(at_most(3, STANDARD),))
TWO = turn_figures(speed=(at_least(0.95, EARLIER),))


def forks(*goals):
    return (Figure("time", "µs", goals),)


CASES = (
    Case("alive, 2 processes", (Figure("a question", "µs", (at_most(3),)),), partial(alive, processes=2)),
    Case(
        "alive, 1000 processes", (Figure("a question", "µs", (at_most(20),)),), partial(alive, processes=1000)
    ),
    Case("fork and wait, fresh program", forks(), fork_and_wait),
    Case(
        "fork and wait, a million objects dropped",
        forks(at_most(1.3, "time", "fork and wait, fresh program")),
        partial(fork_and_wait, objects=1_000_000),
    ),
    Case(
        "fork and wait, a million objects held",
        forks(at_most(0.5, EARLIER)),
        partial(fork_and_wait, objects=1_000_000, hold=True),
    ),
    Case("idle, 100 consumers of one queue", EFFORT, partial(idle, queues=1)),
    Case("idle, 100 consumers of 100 queues", EFFORT, partial(idle, queues=100)),
    *(
        Case(
            f"permit, one of 800 processes waits for a {kind}",
            (Figure("switches a second"), Figure("processor time a second", "ms", (at_most(0.2),))),
            partial(permit, kind=kind),
        )
        for kind in ("Semaphore", "Lock")
    ),
    Case("lock, 50 processes, 200 µs", MANY, partial(turns, processes=50, section=200e-6)),
    Case("lock, 2 processes, 200 µs", TWO, partial(turns, processes=2, section=200e-6)),
    Case("lock, 2 processes, nothing", TWO, partial(turns, processes=2, section=0)),
    Case(
        "core file of a child",
        (
            Figure("size", "MiB", (at_most(2, STANDARD),)),
            Figure("shared memory in use before", "MiB"),
            Figure("more of it in use afterwards", "MiB", (at_most(1),)),
            Figure("its lock is free after", "ms", (at_most(1000),)),
        ),
        core_file,
    ),
    Case("virtual size", (Figure("more than an interpreter", "MiB"),), virtual_size),
    Case(
        "round trips",
        (
            Figure("median of the runs", "µs", (at_most(QUICK_TRIP),)),
            Figure("slowest run", "µs", (at_most(QUICK_TRIP),)),
            Figure(f"runs over {QUICK_TRIP:g} µs", "%", (at_most(0),)),
        ),
        partial(round_trips, processors=2),
    ),
    Case(
        "round trips, one processor",
        (Figure("median of the runs", "µs", (at_most(1, STANDARD),)),),
        partial(round_trips, processors=1),
    ),
)

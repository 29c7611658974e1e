"""What waiting costs: wake-ups and processor time of those who wait, and who gets what others wait for, too."""

import os

import pytest


def test_idle_consumers_sleep(program):
    """The program may wake once a second to look after the dead; not each of its waiters."""
    program(
        """
        import procession as mp
        ctx = mp.get_context("fork")
        q, others = ctx.Queue(), [ctx.Queue() for _ in range(15)]
        waiters = [ctx.Process(target=q.get) for _ in range(15)] + [ctx.Process(target=o.get) for o in others]
        for p in waiters:
            p.start()
        time.sleep(2)

        def switches():
            total = 0
            for p in waiters:
                for line in open(f"/proc/{p.pid}/status"):
                    if "ctxt_switches" in line:
                        total += int(line.split()[1])
            return total

        before = switches()
        time.sleep(3)
        count = switches() - before
        for p, o in zip(waiters, [q] * 15 + others):
            o.put(1)
        for p in waiters:
            p.join(LATE)
            check(p.exitcode == 0, "it slept for ever")
        check(count < 45, f"{count} context switches of 30 idle consumers in 3 s")
        print("ok")
        """
    )


def test_who_waits_for_a_permit_does_not_look_at_everybody_all_the_time(program):
    """Processor time of one that waits, among few and among many."""
    program(
        """
        import procession as mp
        ctx = mp.get_context("fork")
        permits = ctx.Semaphore(0)

        def cost():
            permits.acquire(timeout=0.1)
            before = time.process_time()
            permits.acquire(timeout=3)
            return (time.process_time() - before) * 1e3

        go = os.pipe()
        pids = []
        def crowd(count):
            for _ in range(count):
                pid = os.fork()
                if pid == 0:
                    os.close(go[1])
                    os.read(go[0], 1)
                    os._exit(0)
                pids.append(pid)
        crowd(3)
        few = cost()
        crowd(200)
        many = cost()
        os.close(go[1])
        for pid in pids:
            os.waitpid(pid, 0)
        check(many < 3 * few + 3, f"{few:.1f} ms of processor time among 3 others, {many:.1f} ms among 203")
        print("ok")
        """
    )


def test_a_lock_is_fair_to_all_who_wait(program):
    """Fifty processes, sections of 200 us: nobody gets less than half of what they get in the middle."""
    program(
        """
        import procession as mp
        ctx = mp.get_context("fork")
        lock, go, shares = ctx.Lock(), ctx.Event(), ctx.Queue()

        def run():
            go.wait()
            end, sections, worst = time.monotonic() + 4, 0, 0
            while (begin := time.monotonic()) < end:
                with lock:
                    worst = max(worst, time.monotonic() - begin)
                    sections += 1
                    busy = time.perf_counter() + 0.0002
                    while time.perf_counter() < busy:
                        pass
            shares.put((sections, worst))

        children = [ctx.Process(target=run) for _ in range(50)]
        for p in children:
            p.start()
        time.sleep(0.5)
        go.set()
        all_ = sorted(shares.get(timeout=60) for _ in children)
        for p in children:
            p.join()
        least, median, most = (all_[n][0] for n in (0, 25, 49))
        told = f"shares {least} / {median} / {most}, worst wait {max(w for _, w in all_):.2f} s"
        check(2 * least >= median, told)
        print(told)
        print("ok")
        """
    )


ONE_OF_TWO = """
import procession as mp
if len(os.sched_getaffinity(0)) < 2:
    skip("there is one processor")
"""


@pytest.mark.skipif("PROCESSION_LONG" not in os.environ, reason="needs an idle machine: PROCESSION_LONG=1")
def test_where_one_processor_is_allowed_nobody_spins(program):
    """There, round trips take no longer than with the standard library's pipes. The best of some tries counts."""
    program(
        ONE_OF_TWO
        + """
import multiprocessing
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
ROUNDS = 3_000

def cost(package):
    ctx = package.get_context("fork")
    there, back = ctx.SimpleQueue(), ctx.SimpleQueue()
    def answer():
        for _ in range(ROUNDS + 1):
            back.put(there.get())
    p = ctx.Process(target=answer)
    p.start()
    there.put(0)
    back.get()
    begin = time.perf_counter()
    for n in range(ROUNDS):
        there.put(n)
        back.get()
    took = time.perf_counter() - begin
    p.join()
    return took / ROUNDS * 1e6

ours, theirs = [], []
for _ in range(7):
    ours.append(cost(mp))
    theirs.append(cost(multiprocessing))
told = f"{min(ours):.1f} us a round trip, the standard library {min(theirs):.1f} us"
print(told)
check(min(ours) < 1.1 * min(theirs), told)
print("ok")
"""
    )


@pytest.mark.skipif("PROCESSION_LONG" not in os.environ, reason="needs an idle machine: PROCESSION_LONG=1")
def test_two_that_answer_each_other_part_where_another_processor_is_idle(program):
    """They begin on one processor, and are free to go. Most of the time they must not stay for long."""
    program(
        ONE_OF_TWO
        + """
there, back = (mp.get_context("fork").SimpleQueue() for _ in range(2))

def processor(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[36])

def answer():
    while (message := there.get()) is not None:
        back.put(message)

every = os.sched_getaffinity(0)
rounds = []
for _ in range(12):
    os.sched_setaffinity(0, {min(every)})
    p = mp.get_context("fork").Process(target=answer)
    p.start()
    for n in range(50):
        there.put(n)
        back.get()
    os.sched_setaffinity(p.pid, every)
    os.sched_setaffinity(0, every)
    count = 0
    while count < 20_000 and processor(p.pid) == processor(os.getpid()):
        for n in range(50):
            there.put(n)
            back.get()
        count += 50
    rounds.append(count)
    there.put(None)
    p.join()
rounds.sort()
check(rounds[len(rounds) // 2] <= 800, f"round trips until they parted: {rounds}")
print(rounds)
print("ok")
"""
    )

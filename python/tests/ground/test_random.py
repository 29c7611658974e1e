"""All operations at the same time, in random order: each message is there or was refused, no wait passes its
deadline, and nothing is left behind.

`PROCESSION_TEST_SECONDS` sets the time (20; half an hour with `PROCESSION_LONG=1`), `PROCESSION_TEST_SEED`
repeats a run.
"""

import os
import random

import pytest

LONG = "PROCESSION_LONG" in os.environ
SECONDS = int(os.environ.get("PROCESSION_TEST_SECONDS", 1800 if LONG else 20))

PROGRAM = """
import faulthandler, random
import procession as mp

SEED, SECONDS = int(sys.argv[1]), float(sys.argv[2])
# The file where each actor records how many of its puts have returned, and whether it has finished.
NOTES = "notes"


def act(work, lock, permits, slot, tag, plan):
    '''Puts messages, and takes lock and permits between, until it is refused or killed.'''
    dice = random.Random(plan["seed"])
    if plan["closes"]:
        os.closerange(3, 500)
    # With the number that was the heap's, perhaps.
    notes = os.open(NOTES, os.O_RDWR)

    def note(count, end):
        os.pwrite(notes, struct.pack("QQ", count, end), 16 * slot)

    done = 0
    try:
        for n in range(plan["count"]):
            size = dice.choice([0, 10, 100, 5_000, 20_000, plan["largest"]])
            work.put((tag, n, bytes(size)), timeout=10)
            done = n + 1
            note(done, 0)
            if dice.random() < 0.2 and lock.acquire(timeout=10):
                time.sleep(dice.random() / 1000)
                lock.release()
            if dice.random() < 0.1 and permits.acquire(timeout=10):
                permits.release()
            if dice.random() < 0.1:
                mp.get_context("fork").Lock()
    except (MemoryError, OSError, RuntimeError, queue.Full) as error:
        os.write(2, f"{tag} was refused at {done}: {error!r}\\n".encode())
    note(done, 1)


def take_and_become_another(lock):
    lock.acquire(timeout=10)
    os.execv("/bin/sleep", ["sleep", "0.3"])


class Actor:
    def __init__(self, slot, tag, how, plan, objects):
        self.slot, self.tag, self.plan, self.killed, self.stopped = slot, tag, plan, False, False
        if how in ("by_hand", "exec"):
            self.process = None
            self.pid = os.fork()
            if self.pid == 0:
                try:
                    if how == "exec":
                        take_and_become_another(objects[1])
                    act(*objects, slot, tag, plan)
                finally:
                    os._exit(0)
        else:
            self.process = mp.get_context(how).Process(target=act, args=(*objects, slot, tag, plan))
            self.process.start()
            self.pid = self.process.pid
        self.how = how
        self.over = False

    def signal(self, number):
        if not self.over:
            os.kill(self.pid, number)
            self.killed |= number == signal.SIGKILL

    def is_over(self):
        if not self.over:
            if self.process:
                self.over = not self.process.is_alive()
            else:
                self.over = os.waitpid(self.pid, os.WNOHANG)[0] != 0
            if self.over and self.process:
                self.process.join()
        return self.over

    def noted(self):
        with open(NOTES, "rb") as file:
            file.seek(16 * self.slot)
            return struct.unpack("QQ", file.read(16))


def in_time(seconds):
    '''Whatever comes next must be over in so many seconds; also where it holds the interpreter.'''
    faulthandler.dump_traceback_later(seconds + LATE, exit=True)


def get(work, seconds):
    in_time(seconds)
    try:
        return work.get(timeout=seconds)
    except queue.Empty:
        return None
    except (OSError, RuntimeError, MemoryError):
        return None  # refused, because a process is stopped, or because there is no memory


def round_of_all(dice, number, work, lock, permits):
    with open(NOTES, "wb") as file:
        file.write(bytes(16 * 16))
    objects = work, lock, permits
    # Objects to which all forked children refer, until they are dead and this function has returned.
    ballast = mp.get_context("fork").Queue()
    try:
        for _ in range(6):
            ballast.put(bytes(1_000_000))
    except MemoryError:
        pass
    actors, events, got = [], [], {}
    begin = time.monotonic()
    for slot in range(dice.randint(3, 7)):
        how = dice.choice(["fork", "fork", "by_hand", "by_hand", "exec", "spawn", "forkserver"])
        plan = dict(
            seed=dice.random(), count=dice.choice([5, 50, 300]), closes=how in ("fork", "by_hand") and dice.random() < 0.3,
            largest=dice.choice([9_000, 100_000, 100_000, 4_000_000]),
        )
        in_time(10)
        try:
            actor = Actor(slot, (number, slot), how, plan, objects)
        except (MemoryError, OSError, RuntimeError) as error:
            continue  # refused
        actors.append(actor)
        if dice.random() < 0.2:
            actor.signal(signal.SIGKILL)
            continue
        at = time.monotonic() - begin
        if dice.random() < 0.4:
            at += dice.random() * 0.1
            events.append((at, actor, signal.SIGSTOP))
            events.append((at + dice.choice([0.05, 0.3, 1.5]), actor, signal.SIGCONT))
        if dice.random() < 0.4:
            events.append((at + dice.random() * 0.2, actor, signal.SIGKILL))
    events.sort(key=lambda event: event[0])

    def receive(message):
        tag, n, content = message
        check(not any(content), "torn")
        got.setdefault(tag, []).append(n)

    deadline = time.monotonic() + 60
    while not all([actor.is_over() for actor in actors]):
        check(time.monotonic() < deadline, f"still there: {[(a.how, state_of(a.pid)) for a in actors if not a.over]}")
        while events and events[0][0] <= time.monotonic() - begin:
            _, actor, what = events.pop(0)
            if not actor.is_over():
                actor.signal(what)
        if (message := get(work, 0.005)) is not None:
            receive(message)
    # The last message. Messages that a killed producer left become visible with it.
    end = (number, -1)
    for attempt in range(1000):
        try:
            work.put((end, 0, b""), timeout=10)
            break
        except MemoryError:
            if (message := get(work, 0.1)) is not None:
                receive(message)
    while end not in got:
        message = get(work, 10)
        check(message is not None, f"round {number}: a message is lost; {work.qsize()} are left")
        receive(message)
    for actor in actors:
        count, ended = actor.noted()
        seen = got.pop(actor.tag, [])
        whole = seen == list(range(len(seen)))
        right = len(seen) == count or (actor.killed and not ended and len(seen) == count + 1)
        check(whole and right, f"round {number}, {actor.how}: {count} puts returned, {len(seen)} arrived"
              f" (killed: {actor.killed}): {seen[:5]}...")
        check(ended or actor.killed or actor.how == "exec", f"round {number}, {actor.how}: it died")
    check(list(got) == [end], f"from nobody: {list(got)}")
    in_time(10)
    check(lock.acquire(timeout=10), f"round {number}: the lock is not free, and everybody is gone")
    lock.release()
    taken = 0
    while taken < 3:
        in_time(10)
        check(permits.acquire(timeout=10), f"round {number}: a permit is lost")
        taken += 1
    for _ in range(taken):
        permits.release()


def room(work):
    '''How many messages of a megabyte there is memory for.'''
    count = 0
    try:
        while True:
            work.put(bytes(1_000_000))
            count += 1
    except MemoryError:
        pass
    for _ in range(count):
        check(len(work.get(timeout=10)) == 1_000_000)
    return count


def nothing_stays(work, usual):
    in_time(40)
    others = lambda: sorted(process.name for process in mp.inspect().processes if process.pid != os.getpid())
    looked_around(lambda: others() in ([], ["forkserver"]), 10)
    check(others() in ([], ["forkserver"]), f"said to live: {others()}")
    found = []
    looked_around(lambda: found.append(room(work)) or found[-1] >= 0.8 * usual, 10)
    check(found[-1] >= 0.8 * usual, f"memory is lost: room for {found[-1]} MB where {usual} had room in the beginning")


def main():
    dice = random.Random(SEED)
    ctx = mp.get_context("fork")
    work, lock, permits = ctx.Queue(), ctx.Lock(), ctx.BoundedSemaphore(3)
    usual = room(work)
    end, number = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        number += 1
        round_of_all(dice, number, work, lock, permits)
        if number % 5 == 0:
            nothing_stays(work, usual)
    nothing_stays(work, usual)
    faulthandler.cancel_dump_traceback_later()
    print(f"{number} rounds", file=sys.stderr)
    print("ok")


if __name__ == "__main__":
    try:
        import warnings
        warnings.simplefilter("ignore")
        main()
    except SystemExit:
        raise
    except BaseException:
        import traceback
        check(False, traceback.format_exc())
"""


@pytest.mark.watchdog(SECONDS + 110)
@pytest.mark.timeout(SECONDS + 120)
def test_everything_at_once(program):
    seed = int(os.environ.get("PROCESSION_TEST_SEED", random.randrange(1 << 32)))
    print(f"PROCESSION_TEST_SEED={seed}")
    program(
        PROGRAM,
        seed,
        SECONDS,
        env={"PROCESSION_HEAP_BYTES": str(96 << 20)},
        timeout=SECONDS + 90,
    )

"""Which children are processes of the program: children that get no entry, that never start, that no process
reaps, that are late.
"""

import os

import pytest

METHODS = ["fork", "spawn", "forkserver"]
SMALL_HEAP = {"PROCESSION_HEAP_BYTES": str(64 << 20)}


def test_what_children_of_a_full_program_put_arrives(program):
    """Each child has its own entry, or gets an error that it has none: every message is there once."""
    program(
        """
        import procession as mp
        ctx = mp.get_context("fork")
        work, full = ctx.Queue(), ctx.Queue()
        COUNT, CHILDREN = 10_000, 16

        def child(k, told):
            put = 0
            try:
                for n in range(COUNT):
                    work.put((k, n))
                    put += 1
            except Exception as error:
                os.write(2, f"child {k} is told: {error!r}\\n".encode())
            told.tell(f"{k} {put}")

        fill(full)
        told, go = Teller(), os.pipe()
        for k in range(CHILDREN):
            pid = os.fork()
            if pid == 0:
                os.close(go[1])
                os.read(go[0], 1)
                child(k, told)
                os._exit(0)
        while True:
            try:
                full.get(timeout=0.1)
            except queue.Empty:
                break
        os.close(go[1])
        put = {}
        for _ in range(CHILDREN):
            line = told.hear()
            check(line, f"a child does not end; only {put} did")
            k, count = map(int, line.split())
            put[k] = count
        got = {k: [] for k in put}
        while sum(map(len, got.values())) < sum(put.values()):
            try:
                k, n = work.get(timeout=2)
            except queue.Empty:
                break
            got[k].append(n)
        arrived = {k: len(all) for k, all in got.items()}
        check(arrived == put, f"put returned so often: {put}; so many arrived: {arrived}; qsize {work.qsize()}")
        check(all(all_ == sorted(set(all_)) for all_ in got.values()), "twice or out of order")
        print("ok", flush=True)
        os._exit(0)
        """,
        env=SMALL_HEAP,
    )


def test_a_failed_fork_leaves_nothing(program):
    program(
        """
        import procession as mp
        ctx = mp.get_context("fork")
        q = ctx.Queue()
        for _ in range(64):
            q.put(b"x" * MIB)
        process = ctx.Process(target=print)
        refuse_forks()
        failed = 0
        for attempt in range(23):
            try:
                if attempt < 20:
                    if os.fork() == 0:
                        os._exit(0)
                else:
                    ctx.Process(target=print).start()
            except BlockingIOError:
                failed += 1
        check(failed == 23, failed)
        del q
        gc.collect()
        looked_around(lambda: nobody_else() and resident() < LITTLE)
        known = mp.inspect().processes
        check(len(known) == 1, f"{failed} forks failed, {len(known) - 1} processes are said to live")
        check(resident() < LITTLE, f"{resident() // MIB} MiB after the queue was dropped")
        print("ok")
        """
    )


def test_failed_forks_do_not_use_up_the_table(program):
    """A program forks again and again while forks fail (EAGAIN): later starts succeed."""
    program(
        """
        import procession as mp
        if __name__ == "__main__":
            q = mp.get_context("spawn").Queue()
            refuse_forks()
            for _ in range(33_000):
                try:
                    if os.fork() == 0:
                        os._exit(0)
                except BlockingIOError:
                    pass
            p = mp.get_context("spawn").Process(target=q.put, args=(7,))
            try:
                p.start()
            except Exception as error:
                check(False, f"after 33000 failed forks: {error!r}")
            check(q.get(timeout=LATE) == 7)
            p.join()
            print("ok")
        """
    )


@pytest.mark.parametrize("how", ["process", "by_hand"])
def test_a_child_killed_before_it_ran_is_dead(program, how):
    program(
        """
        import procession as mp
        ctx = mp.get_context("fork")
        pause_at_birth()
        q = ctx.Queue()
        for _ in range(64):
            q.put(b"x" * MIB)
        for _ in range(3):
            if sys.argv[1] == "process":
                p = ctx.Process(target=time.sleep, args=(100,))
                p.start()
                p.kill()
                p.join(LATE)
                check(p.exitcode == -9, p.exitcode)
            else:
                pid = os.fork()
                if pid == 0:
                    os._exit(0)
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        del q
        gc.collect()
        permits = ctx.Semaphore(0)
        deadline = time.monotonic() + LATE
        while not (nobody_else() and resident() < LITTLE) and time.monotonic() < deadline:
            permits.acquire(timeout=1.2)
        known = mp.inspect().processes
        check(len(known) == 1, f"{len(known) - 1} of 3 killed children are said to live")
        check(resident() < LITTLE, f"{resident() // MIB} MiB after the queue was dropped")
        print("ok")
        """,
        how,
    )


@pytest.mark.parametrize("method", METHODS)
def test_starting_and_killing_at_once(program, method):
    program(
        """
        import procession as mp
        if __name__ == "__main__":
            ctx = mp.get_context(sys.argv[1])
            q = ctx.Queue()
            for _ in range(64):
                q.put(b"x" * MIB)
            before = {p.pid for p in mp.inspect().processes}
            for _ in range(10):
                p = ctx.Process(target=time.sleep, args=(100,))
                p.start()
                p.kill()
                p.join(LATE)
                check(p.exitcode in (-9, 255), p.exitcode)
            del q, p
            gc.collect()
            permits = ctx.Semaphore(0)
            deadline = time.monotonic() + LATE
            done = lambda: len(mp.inspect().processes) <= 2 and resident() < LITTLE
            while not done() and time.monotonic() < deadline:
                permits.acquire(timeout=1.2)
            check(done(), f"{mp.inspect().processes}, {resident() // MIB} MiB after the queue was dropped")
            print("ok")
        """,
        method,
    )


def test_who_forks_by_hand_clears_up_after_the_dead(program):
    """A server forks and reaps a child for each request, and no thread in it ever waits for an object."""
    program(
        """
        import procession as mp
        ctx = mp.get_context("fork")
        q = ctx.Queue()
        for _ in range(64):
            q.put(b"x" * MIB)
        for _ in range(50):
            fork_and_reap()
        del q
        gc.collect()
        for _ in range(200):
            fork_and_reap()
            if resident() < LITTLE:
                break
        check(resident() < LITTLE, f"{resident() // MIB} MiB: 50 dead children hold a queue that was dropped")
        print("ok")
        """
    )


@pytest.mark.skipif("PROCESSION_LONG" not in os.environ, reason="takes half a minute: PROCESSION_LONG=1")
@pytest.mark.watchdog(280)
@pytest.mark.timeout(300)
def test_a_program_that_forks_forty_thousand_children_by_hand_goes_on(program):
    program(
        """
        import procession as mp
        ctx = mp.get_context("fork")
        q, lock = ctx.Queue(), ctx.Lock()
        for n in range(40_000):
            fork_and_reap()
            q.put(n)
            check(q.get(timeout=LATE) == n)
        check(resident() < 64 * MIB, f"{resident() // MIB} MiB")
        COUNT = 10_000
        pids = []
        for k in range(4):
            pid = os.fork()
            if pid == 0:
                for n in range(COUNT):
                    q.put((k, n))
                os._exit(0)
            pids.append(pid)
        got = 0
        try:
            while got < 4 * COUNT:
                q.get(timeout=5)
                got += 1
        except queue.Empty:
            pass
        codes = [os.waitpid(pid, 0)[1] for pid in pids]
        check(codes == [0] * 4, codes)
        check(got == 4 * COUNT, f"{4 * COUNT} put, {got} arrived, qsize {q.qsize()}")
        print("ok")
        """,
        timeout=250,
    )


def test_a_late_child_does_not_take_the_place_of_another(program):
    """A daemon's parent is gone before the daemon runs; meanwhile others look for the dead and a new process
    starts.
    """
    program(
        """
        import procession as mp
        ctx = mp.get_context("fork")
        adopt_orphans()
        pause_at_birth()
        lock, permits, work = ctx.Lock(), ctx.Semaphore(0), ctx.Queue()
        told, holder_told, go = Teller(), Teller(), os.pipe()

        between = os.fork()
        if between == 0:
            late = os.fork()
            if late == 0:
                try:
                    work.put("from the late one")
                    told.tell("put")
                except Exception as error:
                    told.tell(f"refused: {error!r}")
                os._exit(0)
            told.tell(str(late))
            os._exit(0)
        gone = lambda pid: state_of(pid) in ("Z", "")
        check(let_go(between, lambda: gone(between)))
        os.waitpid(between, 0)
        late = int(told.hear())
        # The late child exists, its parent does not. All entries are checked, twice.
        for _ in range(2):
            permits.acquire(timeout=1.2)

        holder = os.fork()
        if holder == 0:
            lock.acquire()
            holder_told.tell("has it")
            os.read(go[0], 1)
            try:
                lock.release()
                holder_told.tell("gave it back")
            except BaseException as error:
                holder_told.tell(repr(error))
            os._exit(0)
        heard = []
        check(let_go(holder, lambda: heard.append(holder_told.hear(0.05)) or heard[-1]))
        check(let_go(late, lambda: gone(late)), "the late one does not end")
        os.waitpid(late, 0)
        said = told.hear(1)
        check(said, "the late one died without a word")
        if said == "put":
            check(work.get(timeout=LATE) == "from the late one")
        for _ in range(2):
            permits.acquire(timeout=1.2)
        check(not lock.acquire(timeout=2), f"the lock was taken from process {holder}, which lives: {not gone(holder)}")
        os.write(go[1], b"!")
        check(holder_told.hear() == "gave it back")
        os.waitpid(holder, 0)
        check(lock.acquire(timeout=LATE))
        print("ok", flush=True)
        os._exit(0)
        """
    )

"""Whether a process lives: without pidfd, across PID namespaces, after exec, and how soon a death is known."""

import pytest

METHODS = ["fork", "spawn", "forkserver"]


@pytest.mark.parametrize("method", ["by_hand", *METHODS])
@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
def test_a_death_is_noticed_without_pidfd(program, error, method):
    """System call filters of older container runtimes know no pidfd_open; nor do old kernels."""
    program(
        """
        import procession as mp

        def hold(lock):
            lock.acquire()
            os.kill(os.getpid(), signal.SIGKILL)

        if __name__ == "__main__":
            refuse_calls(["pidfd_open", "pidfd_send_signal"], getattr(errno, sys.argv[1]))
            method = sys.argv[2]
            ctx = mp.get_context("fork" if method == "by_hand" else method)
            lock = ctx.Lock()
            if method == "by_hand":
                pid = os.fork()
                if pid == 0:
                    hold(lock)
                os.waitpid(pid, 0)
            else:
                p = ctx.Process(target=hold, args=(lock,))
                p.start()
                p.join(LATE)
                check(p.exitcode == -9, p.exitcode)
            check(lock.acquire(timeout=6), "the lock of a process that was killed and collected is not free")
            lock.release()
            print("ok")
        """,
        error,
        method,
    )


NAMESPACE = """
import procession as mp
ctx = mp.get_context("fork")
lock, permits = ctx.Lock(), ctx.Semaphore(0)
told, go = Teller(), os.pipe()
CLONE_NEWNS, CLONE_NEWPID = 0x20000, 0x20000000

def unshare(what):
    if LIBC.unshare(what) != 0:
        skip(f"unshare: {os.strerror(ctypes.get_errno())}")
"""


def test_a_process_in_its_own_pid_namespace_keeps_its_lock(program):
    """It has another number there, and a /proc of its own. To those outside it lives."""
    program(
        NAMESPACE
        + """
import subprocess
unshare(CLONE_NEWPID)
first = os.fork()
if first == 0:
    unshare(CLONE_NEWNS)
    subprocess.run("mount --make-rprivate / && mount -t proc proc /proc", shell=True, check=True)
    inner = os.fork()
    if inner == 0:
        lock.acquire()
        told.tell("has it")
        os.read(go[0], 1)
        try:
            lock.release()
            told.tell("gave it back")
        except BaseException as error:
            told.tell(repr(error))
        os._exit(0)
    os.waitpid(inner, 0)
    os._exit(0)
check(told.hear() == "has it")
for _ in range(2):
    permits.acquire(timeout=1.2)
check(not lock.acquire(timeout=2), "the lock of a process that lives was given to another")
os.write(go[1], b"!")
check(told.hear() == "gave it back")
check(lock.acquire(timeout=LATE))
os.waitpid(first, 0)
print("ok", flush=True)
os._exit(0)
"""
    )


def test_a_process_in_a_pid_namespace_sees_that_those_outside_live(program):
    program(
        NAMESPACE
        + """
lock.acquire()
child = os.fork()
if child == 0:
    unshare(CLONE_NEWPID)
    inner = os.fork()
    if inner == 0:
        told.tell(f"got it early: {lock.acquire(timeout=3)}")
        told.tell(f"got it: {lock.acquire(timeout=LATE)}")
        lock.release()
        os._exit(0)
    os.waitpid(inner, 0)
    os._exit(0)
check(told.hear() == "got it early: False", "it was taken from this process, which lives")
lock.release()
check(told.hear() == "got it: True")
os.waitpid(child, 0)
print("ok", flush=True)
os._exit(0)
"""
    )


def test_a_program_that_was_started_instead_holds_nothing(program):
    """fork and exec, as `preexec_fn` and daemons do: the new program has none of the memory, so it keeps none of it."""
    program(
        """
        import subprocess
        import procession as mp
        ctx = mp.get_context("fork")
        q = ctx.Queue()
        for _ in range(64):
            q.put(b"x" * MIB)
        other = subprocess.Popen(["sleep", "100"], preexec_fn=os.setsid)
        del q
        gc.collect()
        permits = ctx.Semaphore(0)
        deadline = time.monotonic() + LATE
        while resident() > LITTLE and time.monotonic() < deadline:
            permits.acquire(timeout=1.2)
        stays = resident()
        runs = other.poll() is None
        other.kill()
        other.wait()
        check(runs, "it has ended, so nothing was shown")
        check(stays <= LITTLE, f"{stays // MIB} MiB stay while `sleep` runs")
        print("ok")
        """
    )


def test_a_lock_whose_holder_became_another_program_is_free(program):
    program(
        """
        import procession as mp
        ctx = mp.get_context("fork")
        lock = ctx.Lock()
        told = Teller()
        pid = os.fork()
        if pid == 0:
            lock.acquire()
            told.tell("has it")
            os.execv("/bin/sleep", ["sleep", "100"])
        told.hear()
        got = lock.acquire(timeout=8)
        runs = state_of(pid) not in ("Z", "")
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        check(runs, "it has ended, so nothing was shown")
        check(got, "nobody gets the lock while the other program runs")
        print("ok")
        """
    )


def test_a_death_is_noticed_within_a_second(program):
    """The dead process is not reaped, and this process is not its parent. The best of some tries counts."""
    program(
        """
        import procession as mp
        ctx = mp.get_context("fork")
        lock = ctx.Lock()
        told = Teller()
        took = []
        for _ in range(5):
            between = os.fork()
            if between == 0:
                if os.fork() == 0:
                    lock.acquire()
                    told.tell("has it")
                    os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(100)
            check(told.hear() == "has it")
            begin = time.monotonic()
            check(lock.acquire(timeout=LATE))
            took.append(time.monotonic() - begin)
            lock.release()
            os.kill(between, signal.SIGKILL)
            os.waitpid(between, 0)
        check(min(took) < 0.95, f"it took {min(took):.2f} s at best")
        print("ok")
        """
    )

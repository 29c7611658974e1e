"""The ends of processes: with their parent, by themselves, and with an exit status that other code
collects.
"""

import textwrap

import pytest

METHODS = ["fork", "spawn", "forkserver"]
pytestmark = pytest.mark.watchdog(120)

PROLOGUE = """\
import os, signal, subprocess, sys, threading, time
import procession

def lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False

def until_gone(pid):
    while lives(pid):
        time.sleep(0.01)

def say(text):
    os.write(1, f"{text}\\n".encode())

def for_ever():
    while True:
        time.sleep(1)

def started(queue, then=for_ever):
    queue.put(os.getpid())
    then()

ctx = procession.get_context(sys.argv[1])

def start(target, *args, **options):
    p = ctx.Process(target=target, args=args, **options)
    p.start()
    return p
"""


@pytest.fixture
def run(run_script):
    """Returns a function that runs a program with a start method as `ctx`, and asserts that it ended as
    expected and left nothing behind.
    """

    def run(method, text, returncode=0, **options):
        result = run_script(PROLOGUE + textwrap.dedent(text), method, **options)
        result.check(returncode)
        return result

    return run


# Daemons


@pytest.mark.parametrize("method", METHODS)
def test_a_daemon_ends_with_a_parent_that_is_killed(run, method):
    # The fixture asserts that no process is left.
    run(
        method,
        """
        if __name__ == "__main__":
            queue = ctx.Queue()
            for _ in range(2):
                start(started, queue, daemon=True)
                queue.get()
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        -9,
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_daemon_that_is_busy_or_ignores_signals_ends_too(run, method):
    run(
        method,
        """
        def busy(queue):
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGIO):
                signal.signal(number, signal.SIG_IGN)
            queue.put(None)
            while True:
                pass

        if __name__ == "__main__":
            queue = ctx.Queue()
            start(busy, queue, daemon=True)
            queue.get()
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        -9,
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_forked_sibling_does_not_keep_a_daemon_alive(run, method, when):
    result = run(
        method,
        """
        def sibling(queue, pids):
            queue.put(None)
            until_gone(pids.get())
            say("gone")

        def fork_by_hand(queue, pids):
            if os.fork() == 0:
                sibling(queue, pids)
                os._exit(0)
            queue.get()

        if __name__ == "__main__":
            # One more daemon before, so that there is a lifeline already.
            queue, pids = ctx.Queue(), ctx.Queue()
            start(started, queue, daemon=True)
            queue.get()
            if sys.argv[2] == "before":
                fork_by_hand(queue, pids)
            daemon = start(started, queue, daemon=True)
            queue.get()
            if sys.argv[2] == "after":
                fork_by_hand(queue, pids)
            start(sibling, queue, pids)
            queue.get()
            pids.put_many([daemon.pid, daemon.pid])
            os.kill(os.getpid(), signal.SIGKILL)
        """.replace("sys.argv[2]", repr(when)),
        -9,
    )
    assert result.stdout == "gone\n" * 2


@pytest.mark.parametrize("method", METHODS)
def test_a_program_that_the_parent_started_does_not_keep_a_daemon_alive(run, method):
    result = run(
        method,
        """
        if __name__ == "__main__":
            queue = ctx.Queue()
            daemon = start(started, queue, daemon=True)
            queue.get()
            with open(__file__) as file:
                prologue = file.read().partition("ctx =")[0].replace("import procession", "")
            program = prologue + f"until_gone({daemon.pid}); say('gone')"
            subprocess.Popen([sys.executable, "-c", program], close_fds=False)
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        -9,
    )
    assert result.stdout == "gone\n"


@pytest.mark.parametrize("method", METHODS)
def test_what_a_daemon_has_forked_does_not_keep_it_alive_and_lives_on(run, method):
    result = run(
        method,
        """
        def fork_by_hand(queue):
            daemon = os.getpid()
            if os.fork() == 0:
                queue.put(daemon)
                until_gone(daemon)
                say("gone")
                os._exit(0)
            for_ever()

        if __name__ == "__main__":
            queue = ctx.Queue()
            start(fork_by_hand, queue, daemon=True)
            queue.get()
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        -9,
    )
    assert result.stdout == "gone\n"


@pytest.mark.parametrize("method", METHODS)
def test_a_daemon_outlives_the_thread_that_started_it(run, method):
    result = run(
        method,
        """
        if __name__ == "__main__":
            queue, daemons = ctx.Queue(), []
            thread = threading.Thread(target=lambda: daemons.append(start(started, queue, daemon=True)))
            thread.start()
            thread.join()
            queue.get()
            time.sleep(0.3)
            say(daemons[0].is_alive())
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        -9,
    )
    assert result.stdout == "True\n"


@pytest.mark.parametrize("method", METHODS)
def test_a_daemon_is_terminated_by_a_parent_that_ends(run, method):
    result = run(
        method,
        """
        def terminated(*_):
            say("terminated")
            os._exit(0)

        def wait(queue):
            signal.signal(signal.SIGTERM, terminated)
            queue.put(None)
            for_ever()

        if __name__ == "__main__":
            queue = ctx.Queue()
            start(wait, queue, daemon=True)
            queue.get()
        """,
    )
    assert result.stdout == "terminated\n"


@pytest.mark.parametrize("method", METHODS)
def test_a_child_that_is_no_daemon_lives_on(run, method):
    result = run(
        method,
        """
        def child(queue, parent):
            queue.put(None)
            until_gone(parent)
            time.sleep(0.3)
            say("here")

        if __name__ == "__main__":
            queue = ctx.Queue()
            # There is a lifeline.
            start(started, queue, daemon=True)
            queue.get()
            start(child, queue, os.getpid())
            queue.get()
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        -9,
    )
    assert result.stdout == "here\n"


@pytest.mark.parametrize("method", METHODS)
def test_the_workers_of_a_pool_end_with_it(run, method):
    run(
        method,
        """
        if __name__ == "__main__":
            pool = ctx.Pool(2)
            pool.map(abs, [1, 2])
            pool.apply_async(for_ever)
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        -9,
    )


@pytest.mark.parametrize("method", METHODS)
def test_daemons_cost_no_descriptors_for_good(run, method):
    run(
        method,
        """
        def count():
            return len(os.listdir("/proc/self/fd"))

        def a_few():
            daemons = [start(abs, 1, daemon=True) for _ in range(3)]
            for daemon in daemons:
                daemon.join()
                daemon.close()

        if __name__ == "__main__":
            a_few()
            before = count()
            a_few()
            assert count() == before, (before, count())
        """,
    )


# Permits and locks of those that end

ENDS = """
        def end(how):
            if how == "exit":
                sys.exit(3)
            if how == "error":
                sys.stderr = open(os.devnull, "w")
                raise ValueError
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "without a word":
                os._exit(0)

        def take(semaphore, how):
            semaphore.acquire()
            end(how)
"""


@pytest.mark.parametrize("method", METHODS)
def test_what_a_child_took_that_ended_is_the_parents_to_release(run, method):
    run(
        method,
        ENDS
        + """
        if __name__ == "__main__":
            for how, code in ("returned", 0), ("exit", 3), ("error", 1):
                semaphore = ctx.BoundedSemaphore(2)
                child = start(take, semaphore, how)
                child.join()
                assert child.exitcode == code, child
                assert semaphore.get_value() == 1, how
                semaphore.release()
                assert semaphore.get_value() == 2, how
        """,
    )


@pytest.mark.parametrize("method", METHODS)
def test_what_a_child_took_that_was_killed_comes_back(run, method):
    run(
        method,
        ENDS
        + """
        if __name__ == "__main__":
            for how in "killed", "without a word":
                semaphore = ctx.BoundedSemaphore(2)
                start(take, semaphore, how).join()
                assert semaphore.get_value() == 2, how
                try:
                    semaphore.release()
                except ValueError:
                    continue
                raise AssertionError(how)
        """,
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_lock_that_a_child_took_can_be_released_or_acquired(run, method):
    run(
        method,
        ENDS
        + """
        import warnings

        if __name__ == "__main__":
            for how in "returned", "exit", "error", "killed":
                lock = ctx.Lock()
                start(take, lock, how).join()
                lock.release()
                assert lock.acquire(timeout=0)
                lock = ctx.Lock()
                start(take, lock, how).join()
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    assert lock.acquire()
                assert [w.category for w in caught] == [procession.synchronize.OwnerDiedWarning], how
                lock.release()
        """,
    )


# Children whose status other code has collected


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("collector", ["by hand", "ignored", "thread"])
def test_who_is_dead_is_known_whoever_collected_it(run, method, collector):
    run(
        method,
        """
        def collect_all():
            while True:
                try:
                    os.waitpid(-1, 0)
                except ChildProcessError:
                    time.sleep(0.001)

        if __name__ == "__main__":
            collector = COLLECTOR
            queue, end = ctx.Queue(), ctx.Queue()
            if collector == "ignored":
                signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            elif collector == "thread":
                threading.Thread(target=collect_all, daemon=True).start()
            living = start(started, queue, end.get)
            assert queue.get() == living.pid
            child = start(os._exit, 3)
            if collector == "by hand":
                os.waitpid(child.pid, 0)
            else:
                while os.path.exists(f"/proc/{child.pid}"):
                    time.sleep(0.001)
            child.join()
            assert child.exitcode == 255 and not child.is_alive()
            assert living.is_alive() and living.exitcode is None
            assert procession.active_children() == [living]
            end.put(None)
            living.join()
            assert not living.is_alive() and living.exitcode is not None
            assert procession.active_children() == []
        """.replace("COLLECTOR", repr(collector)),
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_copy_of_the_parent_knows_that_its_children_live(run, method):
    run(
        method,
        """
        def child(lock, queue, end):
            with lock:
                queue.put(None)
                end.get()

        def ask(child):
            # A copy of the parent may not ask the process object, so it asks the object's `_popen`.
            return child._popen.poll() is None

        if __name__ == "__main__":
            lock, queue, end = ctx.Lock(), ctx.Queue(), ctx.Queue()
            child = start(child, lock, queue, end)
            queue.get()
            pid = os.fork()
            if pid == 0:
                os._exit(0 if ask(child) else 1)
            assert os.waitpid(pid, 0)[1] == 0
            # The living processes were not cleared up after.
            assert not lock.acquire(timeout=0.1)
            end.put(None)
            child.join()
            assert child.exitcode == 0
        """,
    )

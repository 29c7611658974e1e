"""A small program in environments without some system calls, processes, /proc, descriptors or processors."""

import os
import shutil
import subprocess
import sys

import pytest

# Messages of all sizes, a lock, processes, and holders that are killed: what there is to work everywhere.
SMOKE = """
import procession as mp

def work(q, answers, lock):
    while (message := q.get()) is not None:
        with lock:
            answers.put(message)

def hold(lock):
    lock.acquire()
    os.kill(os.getpid(), signal.SIGKILL)

def smoke(method):
    ctx = mp.get_context(method)
    q, answers, lock = ctx.Queue(), ctx.Queue(), ctx.Lock()
    p = ctx.Process(target=work, args=(q, answers, lock))
    p.start()
    for size in (10, 5_000, 100_000, 3_000_000):
        q.put(b"x" * size)
        check(len(answers.get(timeout=LATE)) == size, method)
    q.put(None)
    p.join(LATE)
    check(p.exitcode == 0, method, p.exitcode)
    p = ctx.Process(target=hold, args=(lock,))
    p.start()
    check(until(lambda: not p.is_alive()), method, "a killed child is said to live")
    check(lock.acquire(timeout=LATE), method, "the death of a holder is not noticed")
    lock.release()
    return answers, lock

def smoke_of_all():
    for method in ("spawn", "forkserver", "fork"):
        answers, lock = smoke(method)
    check(fork_and_reap(lambda: answers.put(5)) == 0)
    check(answers.get(timeout=LATE) == 5)
    # A holder that nobody collects, and who is nobody's child here.
    told = Teller()
    between = os.fork()
    if between == 0:
        if os.fork() == 0:
            lock.acquire()
            told.tell("has it")
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(100)
    check(told.hear() == "has it")
    check(lock.acquire(timeout=LATE), "the death of somebody who is not collected is not noticed")
    lock.release()
    os.kill(between, signal.SIGKILL)
    os.waitpid(between, 0)
    print("ok")
"""

# What is done to the program before it begins, in itself.
PLACES = {
    "usual": "",
    "no_pidfd": "refuse_calls(['pidfd_open', 'pidfd_send_signal'], errno.EPERM)",
    "no_pidfd_in_this_kernel": "refuse_calls(['pidfd_open', 'pidfd_send_signal'], errno.ENOSYS)",
    "no_locks_of_descriptions": "refuse_descriptions_locks()",
    "neither": "refuse_descriptions_locks(); refuse_calls(['pidfd_open', 'pidfd_send_signal'], errno.ENOSYS)",
    "few_descriptors": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))",
    "few_addresses": "import resource; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))",
    "small_files": "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))",
    "one_processor": "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})",
}


@pytest.mark.parametrize("place", PLACES)
def test_where_something_is_missing(program, place):
    program(
        SMOKE
        + f"""
if __name__ == "__main__":
    {PLACES[place] or "pass"}
    smoke_of_all()
"""
    )


def under(*command):
    """Skip where a program cannot be run under this command."""
    tried = shutil.which(command[0]) and subprocess.run([*command, "true"], capture_output=True)
    if not tried or tried.returncode != 0:
        pytest.skip(f"cannot be run here: {' '.join(command)}")


# How a program is started, and whether as another user: the program again, under another command.
STARTS = {
    "first_in_a_pid_namespace": ["unshare", "--fork", "--pid", "--mount-proc"],
    "in_a_pid_namespace_with_the_old_proc": ["unshare", "--fork", "--pid"],
    "without_proc": ["unshare", "--mount", "sh", "-c", 'umount -l /proc && exec "$@"', "sh"],
    "as_nobody": ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
}


@pytest.mark.parametrize("start", STARTS)
def test_a_program_started_elsewhere(program, start):
    if start == "as_nobody" and not os.access(sys.executable, os.X_OK):
        pytest.skip("the interpreter is not for everybody")
    under(*STARTS[start])
    if start == "as_nobody":
        tried = subprocess.run(
            [*STARTS[start], sys.executable, "-c", "import procession._engine"], capture_output=True, cwd="/"
        )
        if tried.returncode != 0:
            pytest.skip("this interpreter, or the package, cannot be read by another user")
    program(
        SMOKE
        + f"""
if __name__ == "__main__":
    if "again" not in sys.argv:
        import subprocess, tempfile
        # For another user as well.
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o777)
            place = os.path.join(folder, "program.py")
            helpers = sys.modules["ground_helpers"].__file__
            with open(place, "w") as file, open(__file__) as own, open(helpers) as theirs:
                file.write(own.read())
                with open(os.path.join(folder, "ground_helpers.py"), "w") as copy:
                    copy.write(theirs.read())
            command = {STARTS[start]!r} + [sys.executable, place, "again"]
            os.environ["TMPDIR"] = folder
            ended = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL).returncode
        os._exit(ended)
    smoke_of_all()
"""
    )


OVERCOMMIT = "/proc/sys/vm/overcommit_memory"


@pytest.fixture
def no_overcommit():
    """`vm.overcommit_memory` = 2 for the time of the test, which says why not where it cannot be set.

    It concerns the whole machine. So a process of its own sets it back when this one has closed its end of a pipe, or has ended
    in whatever way: the watchdog leaves by no `finally`.
    """
    if "PROCESSION_LONG" not in os.environ:
        pytest.skip("it concerns the whole machine: PROCESSION_LONG=1, as root")
    try:
        with open(OVERCOMMIT) as file:
            usual = file.read().strip()
        with open(OVERCOMMIT, "w") as file:
            file.write(usual)
    except OSError as error:
        pytest.skip(f"it cannot be set: {error}")
    restore = ["sh", "-c", f"echo there; cat >/dev/null; echo {usual} >{OVERCOMMIT}"]
    with subprocess.Popen(
        restore, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as keeper:
        assert keeper.stdout.readline() == b"there\n"
        with open(OVERCOMMIT, "w") as file:
            file.write("2")
        yield
        keeper.stdin.close()
        assert keeper.wait() == 0
    with open(OVERCOMMIT) as file:
        assert file.read().strip() == usual


@pytest.mark.parametrize("place", ["usual", "small_files"])
def test_where_memory_is_not_promised_twice(no_overcommit, program, place):
    """What is reserved and not used, 256 GiB of addresses say, is not asked of the system."""
    program(SMOKE + f"if __name__ == '__main__':\n    {PLACES[place] or 'pass'}\n    smoke_of_all()\n")

"""What the tests share: the fixtures `run_script` and `pipe`, the markers and the watchdog.

Whatever concerns processes is tested from outside: a test writes a program, runs it in a session of its own, and looks
at what it printed, how it ended and what it left behind. So a test that hangs takes nobody else with it.

    def test_squares(run_script):
        result = run_script(
            '''
            import multiprocessing
            if __name__ == "__main__":
                with multiprocessing.Pool(2) as pool:
                    print(pool.map(abs, [-1, 2]))
            ''',
            module="procession",
        )
        assert result.stdout == "[1, 2]\\n"
        result.check()
"""

import faulthandler
import importlib.util
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
import time

import pytest

# Seconds for one test, set-up included; `@pytest.mark.watchdog(seconds)` gives a test more or less.
WATCHDOG = 300
# Seconds that helper processes have to notice the end of their program. No test is faster for a smaller number.
GRACE = 10

STDERR = pytest.StashKey[int]()


def pytest_configure(config):
    config.addinivalue_line("markers", "smoke: quick, and enough to see that the package works at all")
    config.addinivalue_line(
        "markers", "watchdog(seconds): how long this test may take before everything is ended"
    )
    # Here pytest does not capture yet; later, what the watchdog says would be lost with the captured output.
    config.stash[STDERR] = os.dup(2)
    # Programs that are out of time are ended by SIGABRT, for their tracebacks and not for their core files.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def pytest_unconfigure(config):
    os.close(config.stash[STDERR])


@pytest.fixture(autouse=True)
def watchdog(request):
    """End everything, with the tracebacks of all threads, if a test takes too long.

    It works while the test holds the GIL, as a test of an extension module may."""
    marker = request.node.get_closest_marker("watchdog")
    seconds = marker.args[0] if marker else WATCHDOG
    faulthandler.dump_traceback_later(seconds, exit=True, file=request.config.stash[STDERR])
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(params=[True, False], ids=["duplex", "one-way"])
def pipe(request):
    """The ends of a pipe, the reader first."""
    import procession

    reader, writer = procession.Pipe(request.param)
    with reader, writer:
        yield reader, writer


class Finished(subprocess.CompletedProcess):
    """A program that has ended: `args`, `returncode`, `stdout` and `stderr` (text), and what it left behind.

    survivors: a line for each process of its session that was still there after `GRACE` seconds (and was then killed).
    litter: the paths of what is new in /dev/shm and in the program's own temporary folder.
    """

    def __init__(self, args, returncode, stdout, stderr, survivors, litter):
        super().__init__(args, returncode, stdout, stderr)
        self.survivors = survivors
        self.litter = litter

    def check(self, returncode=0):
        """Assert that the program ended with this exit code, and left nothing behind."""
        assert self.returncode == returncode, f"exit code {self.returncode}\n{self.stdout}\n{self.stderr}"
        assert not self.survivors, "processes are left"
        assert not self.litter, "files are left"


@pytest.fixture
def run_python(tmp_path):
    """Return a function that runs Python with any arguments in `tmp_path`, and returns a `Finished`:

    run_python(*args, timeout=60, input=None, env=None)
    """

    def run_python(*args, timeout=60, input=None, env=None):
        command = [sys.executable, *map(str, args)]
        # Its path is short because those of Unix sockets must be.
        with tempfile.TemporaryDirectory(prefix="test-") as temporary:
            return run(command, environment(temporary, env or {}), tmp_path, temporary, timeout, input)

    return run_python


@pytest.fixture
def run_script(run_python, tmp_path):
    """A function that runs a Python program to its end, and returns a `Finished`:

        run_script(text_or_path, *args, module=None, python_flags=(), timeout=60, input=None, env=None)

    text_or_path: a `pathlib.Path`, or else the text of the program, which is dedented and written to `script.py` in
        `tmp_path`. `tmp_path` is the current folder in either case.
    args: the program's own arguments, each turned into a string.
    module: `None` for `python script.py`, "procession" for `python -m procession script.py`.
    python_flags: options of the interpreter, such as `["-W", "error"]`.
    timeout: seconds after which the test fails. The whole session of the program is killed then, and the message has
        the tracebacks of its processes.
    input: text for its standard input, which is empty otherwise.
    env: environment variables to set, or to remove where the value is `None`.

    The temporary folder of the program (`TMPDIR`) is a new one, so that what it leaves there is seen.
    """

    def run_script(text_or_path, *args, module=None, python_flags=(), timeout=60, input=None, env=None):
        script = text_or_path
        if not isinstance(script, pathlib.Path):
            script = tmp_path / "script.py"
            script.write_text(textwrap.dedent(text_or_path))
        runner = ["-m", module] if module else []
        return run_python(*python_flags, *runner, script, *args, timeout=timeout, input=input, env=env)

    return run_script


def environment(temporary, changes):
    variables = {**os.environ, "TMPDIR": temporary, "PYTHONFAULTHANDLER": "1"}
    # The program is to have the same package as the tests, also where that is not installed.
    spec = importlib.util.find_spec("procession")
    if spec and spec.origin:
        place = pathlib.Path(spec.origin).resolve().parent.parent
        if place.name not in ("site-packages", "dist-packages"):
            variables["PYTHONPATH"] = os.pathsep.join(
                filter(None, [str(place), os.environ.get("PYTHONPATH")])
            )
    variables.update(changes)
    return {name: value for name, value in variables.items() if value is not None}


def run(command, variables, folder, temporary, timeout, input):
    shared_memory = set(os.listdir("/dev/shm"))
    # Files and not pipes: whoever outlives the program would keep a pipe open, and so seem to be the program.
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        session = process.pid
        late = False
        try:
            process.communicate(None if input is None else input.encode(), timeout)
            wait_until(lambda: not processes(session))
            survivors = list(processes(session).values())
        except subprocess.TimeoutExpired:
            late = True
            survivors = list(processes(session).values())
            end(session, signal.SIGABRT)  # faulthandler writes the tracebacks
            time.sleep(1)
        finally:
            while processes(session):
                end(session, signal.SIGKILL)
                time.sleep(0.01)
            process.wait()
        output, errors = (read(file) for file in (stdout, stderr))

    if late:
        pytest.fail(
            f"not done after {timeout} s: {' '.join(command)}\n--- processes\n"
            + "\n".join(survivors)
            + f"\n--- standard output\n{output}\n--- standard error\n{errors}",
            pytrace=False,
        )

    # Programs of other people come and go: theirs is what appears later, goes away, or is in use.
    litter = [f"/dev/shm/{name}" for name in sorted(set(os.listdir("/dev/shm")) - shared_memory)]
    litter += sorted(str(path) for path in pathlib.Path(temporary).rglob("*"))
    wait_until(lambda: not any(os.path.lexists(path) for path in litter))
    litter = [path for path in litter if os.path.lexists(path) and not in_use(path)]
    return Finished(command, process.returncode, output, errors, survivors, litter)


def wait_until(condition):
    """Wait for a condition to come true, for no longer than `GRACE` seconds."""
    deadline = time.monotonic() + GRACE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)


def read(file):
    file.seek(0)
    return file.read().decode(errors="backslashreplace")


def processes(session):
    """The processes of a session, without those that only wait to be reaped: a line about each, by its pid."""
    found = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            # After the name, which may hold anything: the state, and the ids of parent, process group and session.
            state, parent, _, its_session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                line = (folder / "cmdline").read_text().replace("\0", " ")
                found[int(folder.name)] = f"{folder.name} (parent {parent}, {state}): {line}"
        except OSError:
            pass  # it has ended meanwhile
    return found


def end(session, how):
    for pid in processes(session):
        try:
            os.kill(pid, how)
        except ProcessLookupError:
            pass


def in_use(path):
    """Whether a process has mapped this file: after the end of a program, it is then the file of somebody else."""
    for maps in pathlib.Path("/proc").glob("[0-9]*/maps"):
        try:
            if any(line.endswith(path) for line in maps.read_text().splitlines()):
                return True
        except OSError:
            pass
    return False

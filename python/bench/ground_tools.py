"""Children of a measurement, their cost, and a child that dies."""

import os
import resource
import signal
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

MIB = 1 << 20

# Long enough for all processes to have begun a long sleep.
SETTLING = 3.0


def rest():
    """Sleeps until a signal ends the process."""
    while True:
        signal.pause()


@contextmanager
def forked(count, work, after_each=lambda: None):
    """Forks `count` children by `os.fork`, and kills them in the end."""
    pids = []
    try:
        for _ in range(count):
            pid = os.fork()
            if pid == 0:
                try:
                    work()
                finally:
                    os._exit(0)
            pids.append(pid)
            after_each()
        yield pids
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)


@contextmanager
def running(context, work, count):
    """Starts `count` children, each of which gets its index, and kills them in the end."""
    children = [context.Process(target=work, args=(n,)) for n in range(count)]
    for child in children:
        child.start()
    try:
        yield [child.pid for child in children]
    finally:
        for child in children:
            child.kill()
        for child in children:
            child.join()


def effort_of(pids, quick):
    """Returns the context switches and the milliseconds of processor time per second of these waiting
    processes together.
    """
    time.sleep(SETTLING)
    begin, before = time.perf_counter(), efforts(pids)
    time.sleep(2 if quick else 6)
    after, seconds = efforts(pids), time.perf_counter() - begin
    switches, nanoseconds = (late - early for early, late in zip(before, after, strict=True))
    return [switches / seconds, nanoseconds / 1e6 / seconds]


def efforts(pids):
    """Returns the context switches and the nanoseconds of processor time of all their threads."""
    switches = nanoseconds = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for line in (thread / "status").read_text().splitlines():
                if line.startswith(("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")):
                    switches += int(line.split()[1])
            nanoseconds += int((thread / "schedstat").read_text().split()[0])
    return switches, nanoseconds


def no_core_files(limit):
    """Returns the reason why a crash leaves no core file of up to `limit` bytes in the current folder; an
    empty string if it does leave one.
    """
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if pattern.startswith("|") or "/" in pattern or not pattern:
        return f"core files are not written to the current folder, but to {pattern!r}"
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    if most != resource.RLIM_INFINITY and most < limit:
        return f"core files may have no more than {most} bytes"
    status = os.statvfs(tempfile.gettempdir())
    if status.f_bavail * status.f_frsize < 2 * limit:
        return f"there is not enough room in {tempfile.gettempdir()}"
    return ""


class Dying:
    """A child that has begun to abort."""

    def __init__(self, pid, folder):
        self.pid, self.folder, self.status = pid, Path(folder), None

    def wait(self):
        if self.status is None:
            _, self.status = os.waitpid(self.pid, 0)

    def size_of_core(self):
        """Waits for the child's death, and returns the bytes that its core file uses on the disk."""
        self.wait()
        if not os.WCOREDUMP(self.status):
            raise AssertionError("it left no core file")
        return sum(file.stat().st_blocks * 512 for file in self.folder.iterdir())


@contextmanager
def child_that_aborts(limit, first):
    """Forks a child that first does something, and then aborts with a core file of at most `limit` bytes."""
    with tempfile.TemporaryDirectory(prefix="core-") as folder:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.chdir(folder)
                hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
                resource.setrlimit(resource.RLIMIT_CORE, (limit, hard))
                first()
                os.write(writer, b"!")
            finally:
                os.abort()
        os.close(writer)
        child = Dying(pid, folder)
        try:
            os.read(reader, 1)
            yield child
        finally:
            os.close(reader)
            child.wait()

"""The program's shared memory in a process: limits, locks and core files, and programs that close all descriptors."""

import os
import subprocess
import sys

import pytest

METHODS = ["fork", "spawn", "forkserver"]

# Without root's capabilities, if the tests have them.
UNPRIVILEGED = """
import ctypes
for capability in range(64):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
"""


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


def test_a_crash_makes_a_small_core_file_and_no_memory(run_script, method, tmp_path):
    with open("/proc/sys/kernel/core_pattern") as file:
        if file.read().strip() != "core":
            pytest.skip("core files go elsewhere here")
    result = run_script(
        """
        import os, pathlib, resource, sys
        import procession
        from procession import _engine

        def crash(queue):
            os.chdir(sys.argv[2])
            resource.setrlimit(resource.RLIMIT_CORE, (600 << 20, resource.getrlimit(resource.RLIMIT_CORE)[1]))
            os.abort()

        if __name__ == "__main__":
            context = procession.get_context(sys.argv[1])
            queue = context.Queue()
            before = _engine.resident_bytes()
            child = context.Process(target=crash, args=(queue,))
            child.start()
            child.join()
            assert child.exitcode == -6, child.exitcode
            assert _engine.resident_bytes() < before + (8 << 20)
        """,
        method,
        tmp_path,
        env={"PYTHONFAULTHANDLER": None},
    )
    cores = [file.stat().st_size for file in tmp_path.iterdir() if file.name.startswith("core")]
    result.check()
    if not cores:
        pytest.skip("no core files are written here")
    assert sum(cores) < 200 << 20


def test_locking_all_memory_makes_no_more_than_was_opened(run_script):
    result = run_script(
        """
        import ctypes
        import procession
        from procession import _engine

        queue = procession.Queue()
        before = _engine.resident_bytes()
        if ctypes.CDLL(None).mlockall(3) == 0:
            assert _engine.resident_bytes() < before + (8 << 20), _engine.resident_bytes()
            for _ in range(3):
                queue.put(b"x" * 50_000_000)
                assert len(queue.get()) == 50_000_000
            array = procession.RawArray("b", 30_000_000)
            assert bytes(array) == bytes(30_000_000)
        """
    )
    result.check()


def test_a_child_that_limits_its_addresses_can_use_most_of_them(run_script, method):
    result = run_script(
        """
        import resource, sys
        import procession

        def limited(queue):
            resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
            queue.put(len(bytearray(1_000_000_000)))

        if __name__ == "__main__":
            context = procession.get_context(sys.argv[1])
            queue = context.Queue()
            child = context.Process(target=limited, args=(queue,))
            child.start()
            print(queue.get(timeout=30))
            child.join()
        """,
        method,
    )
    result.check()
    assert result.stdout == "1000000000\n"


@pytest.mark.parametrize("privileges", ["", UNPRIVILEGED], ids=["as-we-are", "unprivileged"])
@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_under_a_small_limit_on_files_everything_works(run_script, method, limit, privileges, tmp_path):
    if method == "forkserver" and limit == 0:
        pytest.skip("the standard library's fork server needs a folder for temporary files")
    (tmp_path / "inner.py").write_text(
        """
import resource, sys
import procession

def worker(queue, lock):
    with lock:
        queue.put(b"x" * 3_000_000)

if __name__ == "__main__":
    limit = int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    context = procession.get_context(sys.argv[1])
    queue, lock = context.Queue(), context.Lock()
    for _ in range(2):
        child = context.Process(target=worker, args=(queue, lock))
        child.start()
        assert len(queue.get(timeout=30)) == 3_000_000
        child.join()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == limit
    sys.stderr.flush()
"""
    )
    # The program's output is a file, and so under the limit.
    result = run_script(
        privileges
        + """
import subprocess, sys
inner = subprocess.run([sys.executable, "inner.py", *sys.argv[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
print(inner.stdout.decode(), end="")
sys.exit(inner.returncode)
""",
        method,
        limit,
    )
    result.check()


def test_an_error_of_the_system_names_the_call_once():
    # The engine's error texts name the call; Python's must not name it again.
    code = "from procession import _engine; _engine.attach(10_000, 1, 1, -1)"
    result = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("OSError: [Errno 9] ") and last.count("inherited descriptor") == 1, last


CLOSING = """
import os, sys
import procession

def worker(queue):
    queue.put("here")

def idle(queue):
    queue.get()

def victims(highest):
    files = {}
    for n in range(3, highest + 3):
        fd = os.open(f"victim-{n}", os.O_RDWR | os.O_CREAT)
        os.ftruncate(fd, 900 << 20)
        os.pwrite(fd, b"v" * 100_000, 0)
        os.pwrite(fd, b"v" * 100_000, 400 << 20)
        files[fd] = os.fstat(fd).st_ino
    return files

def check(files):
    for fd, inode in files.items():
        stat = os.fstat(fd)
        assert (stat.st_ino, stat.st_size) == (inode, 900 << 20), fd
        for place in (0, 400 << 20):
            assert os.pread(fd, 100_000, place) == b"v" * 100_000, fd

if __name__ == "__main__":
    alone = sys.argv[2] == "alone"
    context = procession.get_context(sys.argv[1])
    queue, forked, lock = context.Queue(), procession.get_context("fork").Queue(), context.Lock()
    if not alone:
        other = procession.get_context("fork").Process(target=idle, args=(forked,))
        other.start()
    if sys.argv[1] == "fork":
        # The descriptor of the queue, too, which is a counter of this process.
        queue._reader.fileno()
    os.closerange(3, 64)
    files = victims(40)
    for length in (10, 100_000, 100_000_000, 300_000_000):
        queue.put(b"y" * length)
        assert len(queue.get()) == length
        with lock:
            pass
    check(files)
    child = context.Process(target=worker, args=(queue,))
    try:
        child.start()
    except OSError as error:
        assert alone and "closed descriptor" in str(error), error
        print("told")
    else:
        assert queue.get(timeout=30) == "here"
        child.join()
        assert child.exitcode == 0, child.exitcode
        print("started")
    check(files)
    if not alone:
        forked.put(None)
        other.join()
    check(files)
"""


def test_a_program_that_closes_all_descriptors_keeps_its_files_and_goes_on(run_script, method):
    result = run_script(CLOSING, method, "together")
    result.check()
    assert result.stdout == "started\n"


@pytest.mark.parametrize("company", ["together", "alone"])
def test_the_same_without_privileges(run_script, method, company, tmp_path):
    drop = (
        UNPRIVILEGED
        + "import os, sys\nos.execv(sys.executable, [sys.executable, 'inner.py', *sys.argv[1:]])\n"
    )
    (tmp_path / "inner.py").write_text(CLOSING)
    result = run_script(drop, method, company)
    result.check()
    expected = "told\n" if company == "alone" and method != "fork" and os.geteuid() == 0 else "started\n"
    assert result.stdout == expected


def test_in_a_container_there_is_an_error_and_nobody_is_killed(run_script):
    group = f"/sys/fs/cgroup/memory/procession-test-{os.getpid()}"
    try:
        os.mkdir(group)
        with open(f"{group}/memory.limit_in_bytes", "w") as file:
            file.write(str(300 << 20))
    except OSError:
        if os.path.isdir(group):
            os.rmdir(group)
        pytest.skip("no control group with a limit can be made here")
    try:
        result = run_script(
            """
            import os, sys
            with open(f"{sys.argv[1]}/cgroup.procs", "w") as file:
                file.write(str(os.getpid()))
            import procession
            queue, count = procession.Queue(), 0
            try:
                while True:
                    queue.put(b"x" * (1 << 20))
                    count += 1
            except MemoryError:
                print(count)
            """,
            group,
        )
        result.check()
        assert 150 < int(result.stdout) < 300
    finally:
        os.rmdir(group)

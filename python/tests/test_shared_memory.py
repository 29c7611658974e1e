"""Shared memory by name: it is never removed while a program uses it, and is removed with its last user,
whichever process is killed.

The programs of a test are not related: each has its own resource tracker.
"""

import sys

import pytest

PROLOGUE = """\
import os, signal, subprocess, sys, time
from procession.shared_memory import SharedMemory, ShareableList

def there(name):
    return os.path.exists(f"/dev/shm/{name}")

def gone(name):
    while there(name):
        time.sleep(0.01)

HEAD = "import sys; from {package}.shared_memory import SharedMemory; "

def program(text, *args, package="procession"):
    '''A program of its own; it has printed a line when this returns.'''
    command = [sys.executable, "-c", HEAD.format(package=package) + text, *args]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    process.said = process.stdout.readline().strip()
    return process

MAKE = "m = SharedMemory(sys.argv[1], True, 64); m.buf[:5] = b'howdy'; print(m.name, flush=True); sys.stdin.read()"
USE = "m = SharedMemory(sys.argv[1]); print(bytes(m.buf[:5]), flush=True); sys.stdin.read()"

def end(process):
    process.stdin.close()
    assert process.wait() == 0, process.returncode

def kill(process):
    process.kill()
    process.wait()
    process.stdin.close()

name = f"procession-test-{os.getpid()}"
"""


@pytest.fixture
def run(run_script, tmp_path):
    """Returns a function that runs a program with these names defined, and asserts that it leaves nothing
    behind.
    """

    def run(text):
        import textwrap

        script = tmp_path / "program.py"
        script.write_text(PROLOGUE + textwrap.dedent(text))
        result = run_script(script)
        result.check()
        return result

    return run


@pytest.mark.smoke
def test_it_stays_while_it_is_used_and_goes_when_the_last_user_is_killed(run):
    run(
        """
        maker = program(MAKE, name)
        user = program(USE, name)
        assert user.said == "b'howdy'"
        kill(maker)
        time.sleep(0.5)  # its tracker has looked
        assert there(name)
        third = program(USE, name)
        assert third.said == "b'howdy'"
        kill(user)
        kill(third)
        gone(name)
        """
    )


def test_who_attaches_and_ends_takes_nothing_along(run):
    run(
        """
        mine = SharedMemory(create=True, size=64)
        for how in (end, kill):
            how(program(USE, mine.name))
        time.sleep(0.5)
        other = SharedMemory(mine.name)
        other.close()
        mine.close()
        # Closed, but not given up: this program may attach to it again.
        end(program(USE, mine.name))
        time.sleep(0.5)
        again = SharedMemory(mine.name)
        again.close()
        again.unlink()
        assert not there(mine.name)
        """
    )


def test_what_is_left_over_goes_with_the_program_and_is_reported(run):
    result = run(
        """
        maker = program("import os; m = SharedMemory(sys.argv[1], True, 64); print(flush=True); os._exit(0)", name)
        maker.wait()
        gone(name)
        """
    )
    assert "1 leaked shared_memory object" in result.stderr


def test_who_only_attached_is_not_reported(run):
    result = run(
        """
        mine = SharedMemory(create=True, size=64)
        end(program(USE, mine.name))
        mine.unlink()
        mine.close()
        """
    )
    assert not result.stderr


def test_memory_of_the_standard_library_is_left_to_it(run):
    run(
        """
        import resource
        maker = program(MAKE, name, package="multiprocessing")
        end(program(USE, name))
        kill(program(USE, name))
        time.sleep(0.5)
        assert there(name)
        # And it finds ours.
        mine = SharedMemory(create=True, size=5)
        mine.buf[:] = b"hello"
        reader = "m = SharedMemory(sys.argv[1]); print(bytes(m.buf[:5]), flush=True); m.unlink(); m.close()"
        assert program(reader, mine.name, package="multiprocessing").said == "b'hello'"
        while there(mine.name):
            time.sleep(0.01)
        assert bytes(mine.buf) == b"hello"  # the name is gone, the memory is not
        mine.close()
        end(maker)
        gone(name)
        """
    )


@pytest.mark.skipif(sys.version_info < (3, 13), reason="track= is new in Python 3.13")
def test_untracked_memory_stays(run):
    run(
        """
        make = "m = SharedMemory(sys.argv[1], True, 64, track=False); print(flush=True)"
        program(make, name).wait()
        end(program(USE, name))
        time.sleep(0.5)
        assert there(name)
        SharedMemory(name, track=False).unlink()
        assert not there(name)
        """
    )


def test_children_use_it_beyond_their_parent(run):
    run(
        """
        fork = (
            "import os, time; m = SharedMemory(sys.argv[1], True, 64)\\n"
            "if not os.fork():\\n    print(os.getpid(), flush=True); time.sleep(600)\\n"
            "time.sleep(600)"
        )
        parent = program(fork, name)
        kill(parent)
        time.sleep(0.3)
        assert there(name)
        os.kill(int(parent.said), signal.SIGKILL)
        gone(name)
        """
    )


def test_two_of_one_name_and_too_much(run):
    run(
        """
        mine = SharedMemory(name, create=True, size=10)
        for wrong, text in [(lambda: SharedMemory(name, True, 10), name), (lambda: SharedMemory(name + "x"), name + "x")]:
            try:
                wrong()
            except (FileExistsError, FileNotFoundError) as error:
                assert text in str(error), error
            else:
                raise AssertionError
        try:
            SharedMemory(create=True, size=1 << 45)
        except OSError as error:
            assert error.errno == 28, error
        else:
            raise AssertionError
        mine.close()
        mine.unlink()
        """
    )


def test_what_another_program_unlinked_is_not_kept(run):
    run(
        """
        from procession import resource_tracker
        for _ in range(100):
            mine = SharedMemory(create=True, size=4096)
            mine.close()
            os.unlink(f"/dev/shm/{mine.name}")
        last = SharedMemory(create=True, size=4096)
        fds = f"/proc/{resource_tracker._resource_tracker._pid}/fd"
        def held():
            files = []
            for fd in os.listdir(fds):
                try:
                    files.append(os.readlink(f"{fds}/{fd}"))
                except FileNotFoundError:
                    pass  # closed meanwhile
            return files
        while f"/dev/shm/{last.name}" not in held():
            time.sleep(0.01)
        assert sum("/dev/shm/" in file for file in held()) < 40
        last.close()
        last.unlink()
        """
    )

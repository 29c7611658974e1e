"""Defects of the standard library that Procession must not have.

For each script of `scripts/` there are two tests, named after the number that the defect has in CPython's
issue tracker: `test_gh_..._[<start method>]` asserts that Procession is right, and `test_gh_..._stdlib` that
the same script goes wrong with `multiprocessing`, so that it would catch the defect. If the running version
of Python does not show the defect, the latter is skipped, and reports what it saw.
"""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import pytest

SCRIPTS = pathlib.Path(__file__).parent / "scripts"

# Seconds until a script is taken to hang.
LIMIT = 60
LIMIT_STDLIB = 6

FORK = ("fork",)
ALL = ("fork", "spawn", "forkserver")

# The start methods with which each script runs on Procession; on the standard library it runs with the first.
METHODS = {
    # queues and locks
    "gh_96062_get_with_timeout_after_reader_killed": ALL,
    "gh_96062_simple_queue_after_reader_killed": ALL,
    "gh_87971_reader_waits_behind_killed_reader": ALL,
    "gh_85880_after_writer_killed": ALL,
    "gh_88304_lock_holder_killed": ALL,
    "gh_88304_semaphore_holder_killed": ALL,
    "gh_75158_waiter_killed": ALL,
    "gh_123899_party_killed": ALL,
    "gh_126434_set_in_signal_handler": ALL,
    "gh_73983_join_before_get": ALL,
    "gh_84376_put_of_unpicklable": FORK,
    "gh_79423_unpicklable_as_last_item": ALL,
    "joinable_consumer_died": ALL,
    "gh_96471_shutdown": ALL,
    "gh_91776_flush_at_exit": FORK,
    # start and resources
    "gh_82300_shared_memory_in_use": ALL,
    "gh_82300_program_attaches_and_ends": FORK,
    "gh_82300_maker_killed_while_in_use": FORK,
    "gh_84559_fork_while_threads_make_objects": FORK,
    "gh_105464_queue_after_fork": FORK,
    "gh_96953_spawn_with_large_data": ("spawn",),
    "gh_89467_out_of_band_buffers": ALL,
    "gh_137996_forkserver_preloads_main": ("forkserver",),
}

# The fork server is the standard library's own, so what it preloads follows the running version.
FOLLOWS_STDLIB = {"gh_137996_forkserver_preloads_main"}


@dataclasses.dataclass
class Outcome:
    code: int | None  # None: still running at the limit
    output: str
    errors: str

    @property
    def right(self):
        return self.code == 0 and self.output.strip().endswith("ok")

    @property
    def wrong(self):
        """Returns whether the script went wrong as it foresees. A script that only breaks proves nothing."""
        return self.code is None or "wrong: " in self.output

    def __str__(self):
        end = "still running at the limit" if self.code is None else f"exit code {self.code}"
        return f"{end}; stdout: {self.output.strip()!r}; stderr:\n{self.errors[-4000:]}"


def run(script, package, method, limit):
    """Runs a script in its own session, and ends all processes of the session."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, SCRIPTS / f"{script}.py", package, method],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env={name: value for name, value in os.environ.items() if not name.startswith("DEFECTS_")},
            start_new_session=True,
        )
        try:
            code = process.wait(limit)
            wait_for_end_of(process.pid)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        output.seek(0)
        errors.seek(0)
        return Outcome(code, output.read().decode(), errors.read().decode(errors="replace"))


def wait_for_end_of(group):
    """Waits a moment for processes that a program leaves running (such as a resource tracker, which cleans
    up).
    """
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)


def assert_right(script, method):
    outcome = run(script, "procession", method, LIMIT)
    if script in FOLLOWS_STDLIB and outcome.code == 1 and outcome.wrong:
        stdlib = run(script, "multiprocessing", method, LIMIT)
        if stdlib.output == outcome.output:
            pytest.skip(
                f"as in the standard library of Python {sys.version.split()[0]}: {stdlib.output.strip()}"
            )
    assert outcome.right, str(outcome)


def assert_wrong(script, method):
    outcome = run(script, "multiprocessing", method, LIMIT_STDLIB)
    if outcome.right:
        pytest.skip(f"Python {sys.version.split()[0]} does not show the defect: {script} says ok")
    assert outcome.wrong, f"the script broke, which proves nothing: {outcome}"


def define(script, methods):
    @pytest.mark.parametrize("method", methods)
    def test_procession(method):
        assert_right(script, method)

    def test_stdlib():
        assert_wrong(script, methods[0])

    for name, test in ((f"test_{script}", test_procession), (f"test_{script}_stdlib", test_stdlib)):
        test.__name__ = test.__qualname__ = name
        globals()[name] = test


for _script, _methods in METHODS.items():
    define(_script, _methods)


def test_every_script_is_run():
    assert {path.stem for path in SCRIPTS.glob("*.py")} - {"_common"} == set(METHODS)

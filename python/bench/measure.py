"""One measurement, in its own session, so that a contender that hangs affects no other process.

As a program, `measure.py CASE CONTENDER METHOD WORK` prints seconds and figures as JSON. It guards itself: if
the calling program ends (and so closes its end of standard input), the whole session is killed.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path


class Failure(Exception):
    """The measurement returned no figures; the text says why, in a word or a line."""


def measure(case, contender, method, work, limit):
    """Returns the seconds and the figures of one measurement, made by another process within `limit`
    seconds.
    """
    command = [sys.executable, str(Path(__file__)), case, contender, method, str(work)]
    answer = in_session(command, limit)
    return answer["seconds"], answer["figures"]


def in_session(command, limit, environment=None):
    """Runs a command in its own session, for at most `limit` seconds, and returns the JSON in its last
    line.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        try:
            ended = wait(child.pid, limit)
        finally:
            # The leader is not reaped yet, so the session is still its own. Kills all that is left of it.
            os.killpg(child.pid, signal.SIGKILL)
            child.stdin.close()
            child.wait()
        if not ended:
            # A child that failed leaves its parent waiting; then it has said why.
            said = last_line(errors)
            raise Failure(f"hang: {said}" if said else "hang")
        if child.returncode != 0:
            raise Failure(f"failed: {last_line(errors) or f'exit code {child.returncode}'}")
        return json.loads(last_line(output))


def wait(pid, limit):
    """Waits for a process to end, without reaping it, and returns whether it ended in time."""
    descriptor = os.pidfd_open(pid)
    try:
        return bool(select.select([descriptor], [], [], limit)[0])
    finally:
        os.close(descriptor)


def last_line(file):
    file.seek(0)
    lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def guard():
    """Goes on in a child. The parent waits to pass on the child's exit code, or to end the session."""
    pid = os.fork()
    if pid == 0:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        return
    descriptor = os.pidfd_open(pid)
    ready, _, _ = select.select([descriptor, 0], [], [])
    if descriptor not in ready:
        os.killpg(0, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)  # a signal, as a shell says it


def main():
    from cases import CASES
    from contenders import CONTENDERS

    case, contender, method, work = sys.argv[1:]
    seconds, figures = CASES[case].run(CONTENDERS[contender], method, int(work))
    print(json.dumps({"seconds": seconds, "figures": figures}))


if __name__ == "__main__":
    guard()
    main()

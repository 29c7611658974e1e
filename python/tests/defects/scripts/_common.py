"""Shared by the scripts of this directory.

A script is called with the name of a package (`multiprocessing` or `procession`) and, optionally, a start
method. If the behaviour is right it prints `ok` and ends with 0. Otherwise it prints `wrong: ...` and ends
with 1, or hangs.
"""

import importlib
import os
import sys
import threading
import time

# The first process leaves word to the others: not each of them has its arguments (a fork server may have none).
PACKAGE = os.environ.setdefault("DEFECTS_PACKAGE", (sys.argv[1:] or ["procession"])[0])
METHOD = os.environ.setdefault("DEFECTS_METHOD", (sys.argv[2:] or ["fork"])[0])

mp = importlib.import_module(PACKAGE)
ctx = mp.get_context(METHOD)

# The time after which a script reports a hang. The right behaviour takes milliseconds, so the long time passes only
# on a busy machine. The short time is long enough for what never comes.
PATIENCE = 2.5 if PACKAGE == "multiprocessing" else 20.0


def sub(name):
    """Returns a submodule of the package."""
    return importlib.import_module(f"{PACKAGE}.{name}")


def right():
    print("ok", flush=True)


def wrong(message):
    """Ends this process and its children, whatever state they and the threads are in."""
    os.write(1, f"wrong: {message}\n".encode())
    for child in mp.active_children():
        child.kill()
    os._exit(1)


def check(condition, message):
    if not condition:
        wrong(message)


def start(target, *args):
    process = ctx.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def within(function, *args, what=None):
    """Returns what `function` returns or raises; calls `wrong` if it takes too long."""
    outcome = []

    def run():
        try:
            outcome.append((function(*args), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if not outcome:
        wrong(f"{what or function} has not returned after {PATIENCE} s")
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


def received(connection, what):
    """Returns the next object from a connection; calls `wrong` if none comes."""
    if not connection.poll(PATIENCE):
        wrong(f"{what}: nothing after {PATIENCE} s")
    return connection.recv()


def until_asleep(process):
    """Waits until every thread of a process has slept for 0.3 s without a break, and used no processor
    time.
    """

    def picture():
        threads = []
        for thread in sorted(os.listdir(f"/proc/{process.pid}/task")):
            try:
                with open(f"/proc/{process.pid}/task/{thread}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
            except OSError:
                # The thread has ended since it was listed.
                continue
            threads.append((thread, fields[0], fields[11], fields[12]))
        return threads

    deadline = time.monotonic() + PATIENCE
    seen, since = picture(), time.monotonic()
    while time.monotonic() < deadline:
        time.sleep(0.02)
        now = picture()
        if now != seen or any(state != "S" for _, state, _, _ in now):
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > 0.3:
            return
    wrong(f"process {process.pid} never came to rest")


def started_and_asleep(target, *args):
    """Starts a process and waits until it waits. It first reports on its first argument, a connection, that
    it is about to.
    """
    mine, theirs = ctx.Pipe()
    process = start(target, theirs, *args)
    received(mine, "a process that starts")
    until_asleep(process)
    return process


def kill(process):
    process.kill()
    process.join(PATIENCE)
    check(process.exitcode == -9, f"a killed process has exit code {process.exitcode}")

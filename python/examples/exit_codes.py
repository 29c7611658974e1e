"""The ends of processes, and what their parent sees.

This program's own exit code is the number of its processes that failed.
"""

import argparse
import multiprocessing
import os
import signal
import sys
import time


def succeed():
    pass


def leave(status):
    sys.exit(status)


def leave_at_once(status):
    os._exit(status)


def fail():
    raise ValueError("the uncaught exception of a child")


def introduce(results):
    me = multiprocessing.current_process()
    parent = multiprocessing.parent_process()
    results.put((me.name, me.daemon, me.pid == os.getpid(), parent.name, parent.is_alive()))
    if me.daemon:
        try:
            multiprocessing.Process(target=succeed).start()
        except AssertionError as error:
            results.put(str(error))


def sleep(ready):
    ready.set()
    time.sleep(600)


def how_they_leave():
    """Runs each process to its end, and counts those whose exit code is not zero."""
    failed = 0
    for target, args in [
        (succeed, ()),
        (leave, (0,)),
        (leave, (None,)),
        (leave, (3,)),
        (leave, ("a message instead of a number",)),
        (leave_at_once, (7,)),
        (fail, ()),
    ]:
        process = multiprocessing.Process(target=target, args=args, name=target.__name__)
        process.start()
        process.join()
        print(f"{process.name}{args}: {process.exitcode}")
        failed += process.exitcode != 0
    return failed


def who_they_are():
    print("here:", multiprocessing.current_process().name, multiprocessing.parent_process())
    results = multiprocessing.Queue()
    for name, daemon in ("anna", False), ("bert", True):
        process = multiprocessing.Process(target=introduce, args=(results,), name=name, daemon=daemon)
        print("before:", process.name, process.daemon, process.pid, process.exitcode, process.is_alive())
        process.start()
        print("child:", results.get())
        if daemon:
            print("child:", results.get())
        process.join()
        print("after:", process.name, process.pid is not None, process.exitcode, process.is_alive())
        process.close()
    process = multiprocessing.Process(target=succeed)
    print("a name by default:", process.name)


def how_they_are_ended():
    failed = 0
    for end in "terminate", "kill":
        ready = multiprocessing.Event()
        process = multiprocessing.Process(target=sleep, args=(ready,), name=f"to {end}")
        process.start()
        ready.wait()
        process.join(timeout=0.1)
        print(f"{process.name}: {process.exitcode}, active: {process in multiprocessing.active_children()}")
        getattr(process, end)()
        process.join()
        name = signal.Signals(-process.exitcode).name
        print(f"{process.name}: {process.exitcode} ({name}), active: {multiprocessing.active_children()}")
        failed += 1
    return failed


def main():
    failed = how_they_leave()
    who_they_are()
    failed += how_they_are_ended()
    sys.exit(failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Exit codes, signals and names of processes.")
    parser.add_argument("--method", choices=multiprocessing.get_all_start_methods())
    method = parser.parse_args().method
    if method:
        multiprocessing.set_start_method(method)
    main()

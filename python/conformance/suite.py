"""What CPython's own thin modules (`test_multiprocessing_spawn` and its like) do, for every version of Python.

`suite_fork`, `suite_spawn` and `suite_forkserver` fill themselves with the classes of `test._test_multiprocessing`.
They are modules of their own because a child finds a test class by the name of its module.
"""

import json
import os


def fill(names, method):
    """Put the test classes for a start method into a module's names."""
    from test import _test_multiprocessing as tests

    note({"what": "suite", "module": tests.multiprocessing.__name__})
    tests.install_tests_in_module_dict(names, method)


def note(fact):
    """Append a line to the log of the run: which process has loaded the suite, and with which `multiprocessing`."""
    path = os.environ.get("PROCESSION_CONFORMANCE_LOG")
    if path:
        log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.write(log, json.dumps({"pid": os.getpid(), **fact}).encode() + b"\n")
        os.close(log)

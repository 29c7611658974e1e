"""Runs one class of CPython's tests of `multiprocessing`: `run_class.py METHOD CLASS RESULTS`.

Appends lines of JSON to the file RESULTS: one when it begins, one at the start and one at the end of each test, one
at the end. What a test prints, and tracebacks, go to the standard error.
"""

# Every child imports this file again, so what only the tests need is imported further below.
import json
import os
import sys


def main(method, name, path):
    import faulthandler
    import importlib
    import resource
    import unittest

    from lines import Lines

    faulthandler.enable()  # whoever kills us for being too slow sends SIGABRT first
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))

    suite = importlib.import_module(f"suite_{method}")
    tests = unittest.TestLoader().loadTestsFromTestCase(getattr(suite, name))
    names = [test._testMethodName for test in tests]

    import multiprocessing

    def write(record):
        # Opened for each line: a test may count descriptors.
        results = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.write(results, json.dumps(record).encode() + b"\n")
        os.close(results)

    write({"event": "begin", "pid": os.getpid(), "module": multiprocessing.__name__, "tests": names})
    result = Lines(write)
    unittest.TestSuite([tests]).run(result)
    result.finish(name, names)
    write({"event": "end"})


if __name__ == "__main__":
    main(*sys.argv[1:])

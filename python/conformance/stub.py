"""Lies where the standard library keeps `multiprocessing`, in a prefix made for the conformance run.

The standard library's own package cannot be reached by that name there, whatever the flags of an interpreter.
"""

import json
import os
import sys

_path = os.environ.get("PROCESSION_CONFORMANCE_LOG")
if _path:
    _log = os.open(_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    _fact = {"pid": os.getpid(), "what": "stub", "arguments": sys.orig_argv}
    os.write(_log, json.dumps(_fact).encode() + b"\n")
    os.close(_log)

del sys.modules[__name__]

import procession  # noqa: E402

procession.install()

import multiprocessing  # noqa: E402, F401

"""A drop-in for `multiprocessing`, on an engine in shared memory.

Every public name of `multiprocessing` is here, with the same signature and exceptions, and every submodule:

    import procession as mp

Programs that say `import multiprocessing` run on it unchanged with `python -m procession script.py`, or after
`procession.install()`. Queues and locks are an order of magnitude faster, and a killed process neither hangs nor
corrupts the others. What they offer beyond the standard library is documented with each of them: `Queue`,
`JoinableQueue`, `Queue.put_many`, `Queue.get_many`, `Queue.shutdown`, `Queue.producer`. `inspect()` shows what the
program's processes do: which of them holds which object, and which thread waits for what.
"""

import sys

from ._standard import folder as _folder

__path__.append(_folder)  # type: ignore[name-defined]

from . import _streams, context  # noqa: E402,F401
from ._alias import install  # noqa: E402,F401
from ._inspect import inspect  # noqa: E402,F401

__version__ = "0.1.0"

__all__ = [name for name in dir(context._default_context) if not name.startswith("_")]
globals().update((name, getattr(context._default_context, name)) for name in __all__)

SUBDEBUG = 5
SUBWARNING = 25

# As the standard library does, so that children find objects that are pickled by reference to the main module.
if "__main__" in sys.modules:
    sys.modules["__mp_main__"] = sys.modules["__main__"]

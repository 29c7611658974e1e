"""A drop-in for `multiprocessing`, on an engine in shared memory.

Every public name of `multiprocessing` is here, with the same signature and exceptions, and every submodule:

    import procession as mp

Programs that say `import multiprocessing` run on it unchanged with `python -m procession script.py`, or after
`procession.install()`. Queues and locks are an order of magnitude faster, and a killed process neither hangs nor corrupts
anything. What they offer beyond the standard library's stands in their own documentation: `Queue`, `JoinableQueue`,
`Queue.put_many`, `Queue.get_many`, `Queue.shutdown`, `Queue.producer`. `inspect()` tells what the program's processes do:
who holds what, and who waits for whom.
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

# As the standard library does, so that what is pickled by reference to the main module is found in children.
if "__main__" in sys.modules:
    sys.modules["__mp_main__"] = sys.modules["__main__"]

"""Utilities: the standard library's, whose new interpreters know this package."""

import os

from ._standard import adopt

adopt(__name__, globals())

from . import _engine, _streams  # noqa: E402

_exit_function_of_library = _exit_function  # noqa: F821
_spawnv_passfds = spawnv_passfds  # noqa: F821

register_after_fork(_streams.streams, _streams.Streams.renew)  # noqa: F821

_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_PLAIN = "from multiprocessing."


def _exit_function(*args, **options):
    """What a child does last that ends by `os._exit`, as one that was forked does."""
    try:
        _exit_function_of_library(*args, **options)
    finally:
        # What it has of a semaphore stays taken, as it would not if it was killed.
        _engine.take_leave()


def spawnv_passfds(path, args, passfds):
    """Start a program with only these descriptors kept open; a `-c` program of this package's imports this package."""
    args, passfds = list(args), list(passfds)
    invitation = None
    if "-c" in args[:-1]:
        at = args.index("-c") + 1
        for module in ("spawn", "forkserver", "resource_tracker"):
            if args[at].startswith(f"{_PLAIN}{module} "):
                invitation = _invitation(module)
                prologue = _prologue(module, passfds, invitation)
                args[at] = prologue + args[at].replace(_PLAIN, "from procession.", 1)
    try:
        return _spawnv_passfds(path, args, passfds)
    finally:
        if invitation is not None:
            _bootstrap.started(invitation)


def _invitation(module):
    """A place in the program for a fork server. (The process objects of spawned children bring theirs.)"""
    global _bootstrap
    if module != "forkserver":
        return None
    from . import _bootstrap

    return _bootstrap.invite("forkserver")


def _prologue(module, passfds, invitation):
    """What a new interpreter does first: find this package, stand in for the standard library's, join the program."""
    from ._alias import is_installed

    lines = [f"import sys; p = {_FOLDER!r}; p in sys.path or sys.path.append(p)"]
    if is_installed() and module != "resource_tracker":
        lines.append("import procession; procession.install()")
    if invitation is not None:
        passfds += [fd for fd in (invitation[0], invitation[3]) if fd >= 0]
        lines.append(f"from procession import _engine; _engine.attach(*{invitation!r})")
    return "; ".join(lines) + "; "

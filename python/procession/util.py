"""The standard library's utilities, whose new interpreters import this package."""

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
    """Run the exit functions of a child that ends by `os._exit`, as a forked one does."""
    try:
        _exit_function_of_library(*args, **options)
    finally:
        # The permits that it has of a semaphore stay taken. They would come back if it was killed.
        _engine.take_leave()


def spawnv_passfds(path, args, passfds):
    """Start a program with only these descriptors kept open. `-c` programs of `multiprocessing` use this package."""
    args, passfds = list(args), list(passfds)
    token = None
    if "-c" in args[:-1]:
        at = args.index("-c") + 1
        for module in ("spawn", "forkserver", "resource_tracker"):
            if args[at].startswith(f"{_PLAIN}{module} "):
                token = _join_token(module)
                prologue = _prologue(module, passfds, token)
                args[at] = prologue + args[at].replace(_PLAIN, "from procession.", 1)
    try:
        return _spawnv_passfds(path, args, passfds)
    finally:
        if token is not None:
            _bootstrap.started(token)


def _join_token(module):
    """Return the join token of a fork server, None for others: a spawned child gets one with its preparation data."""
    global _bootstrap
    if module != "forkserver":
        return None
    from . import _bootstrap

    return _bootstrap.new_join_token("forkserver")


def _prologue(module, passfds, token):
    """Return the code that a new interpreter runs first: find this package, install it, join the program."""
    from ._alias import is_installed

    lines = [f"import sys; p = {_FOLDER!r}; p in sys.path or sys.path.append(p)"]
    if is_installed() and module != "resource_tracker":
        lines.append("import procession; procession.install()")
    if token is not None:
        passfds += [fd for fd in (token[0], token[3]) if fd >= 0]
        lines.append(f"from procession import _engine; _engine.attach(*{token!r})")
    return "; ".join(lines) + "; "

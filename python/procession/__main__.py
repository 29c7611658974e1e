"""Run a program, unchanged, on this package: `python -m procession [-m module | -c code | script.py] args…`.

The program runs as Python itself would run it: `sys.argv`, `sys.path[0]`, `__main__`, tracebacks and exit codes are the
same, and the interpreter's own flags (`python -I -m procession …`) reach its children.
"""

import io
import os
import sys
import types

__all__ = ["main"]

USAGE = """\
usage: python -m procession [-m module | -c code | script] [arguments of the program...]

Runs a Python program that says `import multiprocessing`, unchanged, on procession.

  script         a Python file, or a folder or zip file with a __main__.py
  -m module      a module, as for python -m
  -c code        a program passed in as a string
  -h, --help     show this text
  -V, --version  show the version
"""


class _Program:
    """A program to run: its code, and the globals of its `__main__`."""

    def __init__(self, code, **names):
        self.code = code
        self.module = types.ModuleType("__main__")
        vars(self.module).update(
            {"__builtins__": __builtins__, "__spec__": None, "__package__": None, "__loader__": None}
        )
        vars(self.module).update(names)


def _script(path):
    """Return the program in a file, a folder or a zip file."""
    # Python leaves "." and ".." in the path, too.
    file = os.path.join(os.getcwd(), path)
    if os.path.isdir(path) or _is_archive(path):
        return _container(file)
    try:
        with io.open_code(file) as opened:
            source = opened.read()
    except OSError as error:
        reason = f"[Errno {error.errno}] {error.strerror}"
        _fail(f"{sys.executable}: can't open file {file!r}: {reason}", 2)
    from importlib.machinery import SourceFileLoader

    _set_folder(os.path.dirname(os.path.realpath(path)))
    loader = SourceFileLoader("__main__", file)
    return _Program(_Source(source, file), __file__=file, __cached__=None, __loader__=loader)


class _Source:
    """Source that is compiled later, where its errors are reported as errors of the program."""

    def __init__(self, text, name):
        self.text, self.name = text, name

    def compile(self):
        """Compile the source. Raises `SyntaxError`, with the program's file."""
        return compile(self.text, self.name, "exec", dont_inherit=True)


def _is_archive(path):
    import zipfile

    return os.path.isfile(path) and not path.endswith((".py", ".pyw")) and zipfile.is_zipfile(path)


def _container(path):
    """Return the program in a folder or a zip file with a `__main__`."""
    from pkgutil import get_importer

    if not getattr(sys.flags, "safe_path", False):
        sys.path.pop(0)
    sys.path.insert(0, path)
    finder = get_importer(path)
    spec = finder.find_spec("__main__") if finder is not None else None
    if spec is None or spec.loader is None:
        _fail(f"{sys.executable}: can't find '__main__' module in {path!r}", 1)
    code = spec.loader.get_code("__main__")
    return _Program(
        code,
        __file__=spec.origin,
        __cached__=spec.cached,
        __loader__=spec.loader,
        __package__="",
        __spec__=spec,
    )


def _module(name):
    """Return the program that is a module, as `python -m` finds it."""
    import runpy

    sys.argv[0] = "-m"
    try:
        _, spec, code = runpy._get_module_details(name, runpy._Error)
    except runpy._Error as error:
        _fail(f"{sys.executable}: {error}", 1)
    sys.argv[0] = spec.origin
    return _Program(
        code,
        __file__=spec.origin,
        __cached__=spec.cached,
        __loader__=spec.loader,
        __package__=spec.parent,
        __spec__=spec,
    )


def _command(text):
    """Return the program in `text`, as `python -c` takes it."""
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = ""
    from importlib.machinery import BuiltinImporter

    return _Program(_Source(text + "\n", "<string>"), __loader__=BuiltinImporter)


def _set_folder(folder):
    """Put the program's folder where `python -m` has put the working directory."""
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = folder


def _fail(text, code):
    print(text, file=sys.stderr)
    raise SystemExit(code)


def _program(arguments):
    """Return the program that the command line asks for, and set `sys.argv`."""
    first, rest = (arguments[0], arguments[1:]) if arguments else ("-h", [])
    if first in ("-h", "--help"):
        print(USAGE, end="")
        raise SystemExit(0 if arguments else 2)
    if first in ("-V", "--version"):
        from . import __version__

        print(f"procession {__version__}")
        raise SystemExit(0)
    if first in ("-m", "-c"):
        if not rest:
            _fail(f"argument expected for the {first} option\n{USAGE}", 2)
        sys.argv[:] = [first, *rest[1:]]
        return _module(rest[0]) if first == "-m" else _command(rest[0])
    if first[:2] in ("-m", "-c") and len(first) > 2:
        return _program([first[:2], first[2:], *rest])
    if first.startswith("-"):
        _fail(f"unknown option {first}\n{USAGE}", 2)
    sys.argv[:] = arguments
    return _script(first)


def _run(program):
    code = program.code
    if isinstance(code, _Source):
        code = code.compile()
    exec(code, vars(program.module))


def _reporting(function, argument):
    """Call `function`. Report an exception that it does not catch, without the frames of this package."""
    try:
        return function(argument)
    except SystemExit:
        raise
    except BaseException as error:
        _report(error)
        if isinstance(error, KeyboardInterrupt):
            # Python reports the exception, cleans up, and dies of the signal. It has been reported already.
            sys.excepthook = lambda *_: None
            raise
        raise SystemExit(1) from None


def _report(error):
    """Report an uncaught exception as Python does."""
    trace = _trimmed(error)
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    try:
        sys.excepthook(type(error), error, trace)
    except SystemExit:
        raise
    except BaseException as another:
        if another.__context__ is error:
            another.__context__ = None
        print("Error in sys.excepthook:", file=sys.stderr)
        sys.__excepthook__(type(another), another, _trimmed(another))
        print("\nOriginal exception was:", file=sys.stderr)
        sys.__excepthook__(type(error), error, trace)


def _trimmed(error):
    """Return the traceback of an error, without the frames that led to the program."""
    import runpy

    trace, ours = error.__traceback__, (__file__, runpy._run_code.__code__.co_filename)
    while trace is not None and trace.tb_frame.f_code.co_filename in ours:
        trace = trace.tb_next
    error.__traceback__ = trace
    return trace


def main():
    """Run the program that the command line asks for on this package."""
    from ._alias import install

    install()
    program = _reporting(_program, sys.argv[1:])
    # The globals of this module are needed until the program ends, so both modules are kept.
    program.module.__dict__.setdefault("__doc__", None)
    sys.modules["__procession_main__"] = sys.modules["__main__"]
    sys.modules["__main__"] = sys.modules["__mp_main__"] = program.module
    _reporting(_run, program)


if __name__ == "__main__":
    main()

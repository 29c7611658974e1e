"""Standing in for the standard library's `multiprocessing`, in this process and the children it starts."""

import importlib
import sys
from importlib.machinery import ModuleSpec

__all__ = ["install", "is_installed"]

_STANDARD = "multiprocessing"
_OURS = __name__.rpartition(".")[0]


class _Loader:
    """Gives a module of ours under the standard library's name; one module under both."""

    def __init__(self, name):
        self.name = name

    def create_module(self, spec):
        """The module of ours, imported if it was not yet."""
        module = importlib.import_module(self.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module):
        """Nothing to run: the module has run under its own name."""
        # The import system has put the other name's on it.
        module.__spec__ = self.spec


class _Finder:
    """Finds `multiprocessing` and all below it in this package, when it is imported and not before."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """How to import `name`, if it is the standard library's package or below it."""
        if name == _STANDARD or name.startswith(_STANDARD + "."):
            return ModuleSpec(name, _Loader(_OURS + name[len(_STANDARD) :]))
        return None


def is_installed():
    """Whether `import multiprocessing` gives this package."""
    return any(isinstance(finder, _Finder) for finder in sys.meta_path)


def install():
    """Have `import multiprocessing` give this package, and `concurrent.futures` run on it, in this process and in every
    child that is started from it, whatever the start method.

    Call it before anything imports `multiprocessing`: modules that have taken names out of it keep those.
    """
    if is_installed():
        return
    sys.meta_path.insert(0, _Finder())
    for name in [name for name in sys.modules if name == _STANDARD or name.startswith(_STANDARD + ".")]:
        del sys.modules[name]
    # Logging asks for it by name, without importing it.
    sys.modules[_STANDARD] = sys.modules[_OURS]
    _forget_process_pool()


def _forget_process_pool():
    """Has `concurrent.futures` import its process pool anew, over this package."""
    futures = sys.modules.get("concurrent.futures")
    if sys.modules.pop("concurrent.futures.process", None) and futures is not None:
        for name in ("process", "ProcessPoolExecutor"):
            vars(futures).pop(name, None)

"""Standing in for the standard library's `multiprocessing`, in this process and the children it starts."""

import importlib
import sys
from importlib.machinery import ModuleSpec

__all__ = ["install", "is_installed"]

_STANDARD = "multiprocessing"
_OURS = __name__.rpartition(".")[0]


class _Loader:
    """Loads a module of this package under the standard library's name. It is one module with two names."""

    def __init__(self, name):
        self.name = name

    def create_module(self, spec):
        """Import the module of this package, and return it."""
        module = importlib.import_module(self.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module):
        """Do nothing: the module has run under its own name."""
        # The import system has set the spec of the standard library's name.
        module.__spec__ = self.spec


class _Finder:
    """Finds `multiprocessing` and its submodules in this package, when they are imported and not before."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """Return how to import `name` if it is `multiprocessing` or a submodule of it, else None."""
        if name == _STANDARD or name.startswith(_STANDARD + "."):
            return ModuleSpec(name, _Loader(_OURS + name[len(_STANDARD) :]))
        return None


def is_installed():
    """Return whether `import multiprocessing` gives this package."""
    return any(isinstance(finder, _Finder) for finder in sys.meta_path)


def install():
    """Make `import multiprocessing` give this package, and `concurrent.futures` run on it.

    This holds for this process and for all children that are started from it, with every start method. Call it before
    any module imports `multiprocessing`: modules that have taken names out of the standard library's keep those.
    """
    if is_installed():
        return
    sys.meta_path.insert(0, _Finder())
    for name in [name for name in sys.modules if name == _STANDARD or name.startswith(_STANDARD + ".")]:
        del sys.modules[name]
    # `logging` looks this module up by name, without importing it.
    sys.modules[_STANDARD] = sys.modules[_OURS]
    _forget_process_pool()


def _forget_process_pool():
    """Make `concurrent.futures` import its process pool again, over this package."""
    futures = sys.modules.get("concurrent.futures")
    if sys.modules.pop("concurrent.futures.process", None) and futures is not None:
        for name in ("process", "ProcessPoolExecutor"):
            vars(futures).pop(name, None)

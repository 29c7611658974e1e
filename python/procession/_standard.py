"""Where the standard library's own multiprocessing is, and how a module of ours begins as one of its.

The folder is on this package's path, so a submodule that we do not have is the standard library's, run as ours: its
relative imports find our modules first. A submodule that we change begins with the standard library's code, run in its
own namespace, and replaces what is different.
"""

import os
from importlib.machinery import SourceFileLoader

__all__ = ["adopt", "folder"]

# The real path: an installation may be made of links to another.
folder = os.path.join(os.path.dirname(os.path.realpath(os.__file__)), "multiprocessing")


def adopt(name, namespace):
    """Run the standard library's module of the same name in `namespace`, the globals of our module `name`."""
    path = os.path.join(folder, name.rpartition(".")[2] + ".py")
    code = SourceFileLoader(name, path).get_code(name)
    exec(code, namespace)

"""The standard library's own multiprocessing, and how a module of this package begins with its code.

The standard library's folder is on this package's path. So a submodule that this package does not have is the standard
library's file, run as `procession.x`: its relative imports find this package's modules first. A submodule that this
package changes runs the standard library's code in its own namespace, and then replaces what is different.
"""

import os
from importlib.machinery import SourceFileLoader

__all__ = ["adopt", "folder"]

# The real path: an installation may consist of links to another one.
folder = os.path.join(os.path.dirname(os.path.realpath(os.__file__)), "multiprocessing")


def adopt(name, namespace):
    """Run the standard library's module of the same name in `namespace`, the globals of the module `name`."""
    path = os.path.join(folder, name.rpartition(".")[2] + ".py")
    code = SourceFileLoader(name, path).get_code(name)
    exec(code, namespace)

"""The standard library's processes on Windows, unchanged: the engine is for Linux."""

from ._standard import adopt

__all__ = ["Popen"]  # noqa: F822


def __getattr__(name):
    adopt(__name__, globals())
    return globals()[name]

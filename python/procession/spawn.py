"""The standard library's spawned processes, which join the program before they import the main module."""

from ._standard import adopt

adopt(__name__, globals())

from . import _bootstrap  # noqa: E402

_get_preparation_data = get_preparation_data  # noqa: F821


def get_preparation_data(name):
    """Return info about parent needed by child to unpickle process object"""
    data = _get_preparation_data(name)
    if name == "ignore":
        # For the fork server, which looks for the path under another name.
        data["main_path"] = data.get("init_main_from_path")
    else:
        data["procession"] = _bootstrap.JoinToken(name)
    return data

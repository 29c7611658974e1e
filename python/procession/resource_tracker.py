"""The resource tracker: the standard library's, whose lock is not inherited locked."""

import os

from ._standard import adopt

adopt(__name__, globals())


def _renew_lock():
    lock = _resource_tracker._lock  # noqa: F821
    lock._at_fork_reinit()


os.register_at_fork(after_in_child=_renew_lock)

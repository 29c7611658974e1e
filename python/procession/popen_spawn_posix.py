"""The standard library's spawned processes, whose process objects travel in shared memory."""

from ._standard import adopt

adopt(__name__, globals())

from . import _bootstrap  # noqa: E402

_Popen = Popen  # noqa: F821


class Popen(_Popen):
    """Start child process using a fresh interpreter"""

    def _launch(self, process_obj):
        _bootstrap.launch(self, super()._launch, process_obj)

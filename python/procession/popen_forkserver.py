"""The standard library's processes of the fork server, whose process objects travel in shared memory."""

from ._standard import adopt

adopt(__name__, globals())

from . import _bootstrap, connection  # noqa: E402

_Popen = Popen  # noqa: F821


class Popen(_Popen):
    """Start child process using a server process"""

    def _launch(self, process_obj):
        _bootstrap.launch(self, super()._launch, process_obj)

    def _await(self):
        connection.wait([self.sentinel])

    def poll(self, flag=os.WNOHANG):  # noqa: F821
        """Return the exit code, None while the process runs."""
        return _bootstrap.reap(self, super().poll, flag)

"""Forked processes: the standard library's, which share the engine's memory and are cleared up after when they end."""

from ._standard import adopt

adopt(__name__, globals())

from . import _birth  # noqa: E402

_Popen = Popen  # noqa: F821


class Popen(_Popen):
    """Start child process using fork"""

    def _launch(self, process_obj):
        _birth.prepare_fork()
        super()._launch(process_obj)

    def poll(self, flag=os.WNOHANG):  # noqa: F821
        """The exit code, None while it runs."""
        if self.returncode is not None:
            return self.returncode
        code = super().poll(flag)
        if code is not None:
            _birth.ended(self)
        return code

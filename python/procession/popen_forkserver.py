"""Processes of the fork server: the standard library's, whose process objects travel in shared memory."""

from ._standard import adopt

adopt(__name__, globals())

from . import _birth  # noqa: E402

_Popen = Popen  # noqa: F821


class Popen(_Popen):
    """Start child process using a server process"""

    def _launch(self, process_obj):
        try:
            super()._launch(_birth.Left(process_obj))
        except BaseException:
            _birth.ended(self)
            raise

    def poll(self, flag=os.WNOHANG):  # noqa: F821
        """The exit code, None while it runs."""
        if self.returncode is not None:
            return self.returncode
        code = super().poll(flag)
        if code is not None:
            _birth.ended(self)
        return code

"""Forked processes: the standard library's, which share the engine's memory and are cleared up after when they end."""

from ._standard import adopt

adopt(__name__, globals())

from . import _bootstrap  # noqa: E402

_Popen = Popen  # noqa: F821


class Popen(_Popen):
    """Start child process using fork"""

    def _launch(self, process_obj):
        _bootstrap.fork(self, super()._launch, process_obj)

    def _await(self):
        try:
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)  # noqa: F821
        except ChildProcessError:
            pass  # somebody else has reaped it

    def wait(self, timeout=None):
        """The exit code; None where it is not there in time."""
        if timeout is None or self.returncode is not None:
            return super().wait(timeout)
        return _bootstrap.wait(self, timeout)

    def poll(self, flag=os.WNOHANG):  # noqa: F821
        """The exit code, None while it runs, 255 if somebody else has collected it."""
        return _bootstrap.reap(self, self._ask, flag)

    def _ask(self, flag):
        try:
            pid, status = os.waitpid(self.pid, flag)  # noqa: F821
        except ChildProcessError:
            # Collected by somebody else; or this is a copy of the process that started it.
            return _bootstrap.UNKNOWN if _bootstrap.is_dead(self) else None
        except OSError:
            return None
        return os.waitstatus_to_exitcode(status) if pid == self.pid else None  # noqa: F821

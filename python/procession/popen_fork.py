"""The standard library's forked processes, which share the engine's memory and release what they held."""

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
            pass  # other code has reaped it

    def wait(self, timeout=None):
        """Wait for the exit code and return it, None if the process runs on after `timeout` seconds."""
        if timeout is None or self.returncode is not None:
            return super().wait(timeout)
        return _bootstrap.wait(self, timeout)

    def poll(self, flag=os.WNOHANG):  # noqa: F821
        """Return the exit code, None while the process runs, 255 if other code has collected the exit code."""
        return _bootstrap.reap(self, self._ask, flag)

    def _ask(self, flag):
        try:
            pid, status = os.waitpid(self.pid, flag)  # noqa: F821
        except ChildProcessError:
            # Other code has collected it, or this process is a fork of the one that started it.
            return _bootstrap.UNKNOWN if _bootstrap.is_dead(self) else None
        except OSError:
            return None
        return os.waitstatus_to_exitcode(status) if pid == self.pid else None  # noqa: F821

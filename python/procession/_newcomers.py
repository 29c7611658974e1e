"""How a `Listener` with a key lets clients in: one that says nothing neither keeps others out nor stays for ever.

A client is challenged at once, and then waits among the newcomers until it answers; meanwhile others may come and be let
in. Questions and answers are the standard library's, of the running version.
"""

import hmac
import os
import time
from math import inf

from . import connection

__all__ = ["Newcomers"]

# Seconds that the newest is waited for before the others are looked at: most answer within microseconds.
MOMENT = 0.02
# More than this many are not kept waiting: the one that has been silent longest gives way.
MOST = 64

_names = vars(connection)
_CHALLENGE = _names.get("_CHALLENGE") or _names["CHALLENGE"]
_WELCOME = _names.get("_WELCOME") or _names["WELCOME"]
_FAILURE = _names.get("_FAILURE") or _names["FAILURE"]


class _AskedError(Exception):
    """A question was asked, and its answer is not waited for."""


class _Asking:
    """Stands for a connection while the standard library's code asks its question."""

    def __init__(self, conn):
        self.conn = conn

    def send_bytes(self, frame):
        self.conn.send_bytes(frame)
        self.question = frame[len(_CHALLENGE) :]

    def recv_bytes(self, maxlength):
        raise _AskedError


def _verify(authkey, question, answer):
    """Raise `AuthenticationError` if the answer is wrong."""
    if "_verify_challenge" in _names:
        connection._verify_challenge(authkey, question, answer)
    elif not hmac.compare_digest(hmac.new(authkey, question, "md5").digest(), answer):
        raise connection.AuthenticationError("digest received was wrong")


class Newcomers:
    """The clients of a listener that have not answered yet."""

    def __init__(self):
        self.process = os.getpid()
        # Of each the question, and until when it is waited for; the one that came first stands first.
        self.waiting = {}

    def admit(self, listener, authkey, patience):
        """A client that has authenticated, waiting for one; `None` if there may be one at the next try.

        Raises what the standard library raises for one that answers wrongly or goes away.
        """
        for conn in self._that_answered(listener, authkey, inf if patience is None else patience):
            # Another thread may have been faster.
            question, until = self.waiting.pop(conn, (None, 0))
            if question is not None and self._let_in(conn, authkey, question, until):
                return conn
        return None

    def _that_answered(self, listener, authkey, patience):
        """Waits until a client has answered, or another one comes, who is challenged."""
        self._turn_away()
        if self.waiting:
            ends = min(until for _, until in [*self.waiting.values()])
            left = None if ends == inf else max(0, ends - time.monotonic())
            ready = connection.wait([listener._socket, *self.waiting], left)
            answered = [conn for conn in ready if conn is not listener._socket]
            if answered or not ready:
                return answered
        conn = self._accept(listener)
        if conn is None:
            return []
        asking = _Asking(conn)
        try:
            connection.deliver_challenge(asking, authkey)
        except _AskedError:
            pass
        self.waiting[conn] = asking.question, time.monotonic() + patience
        return [conn] if conn.poll(min(MOMENT, patience)) else []

    def _accept(self, listener):
        """The next client; `None` if others wait and it went away meanwhile, or to another thread."""
        # Threads that disagree about this only try once more.
        listener._socket.settimeout(0 if self.waiting else None)
        try:
            return listener.accept()
        except BlockingIOError:
            return None
        finally:
            listener._socket.settimeout(None)

    def _turn_away(self):
        """Sends those away whose time is over, or who are too many."""
        now = time.monotonic()
        waiting = [*self.waiting.items()]
        for place, (conn, (_, until)) in enumerate(waiting):
            if (until <= now or place < len(waiting) - MOST) and self.waiting.pop(conn, None):
                conn.close()

    def _let_in(self, conn, authkey, question, until):
        """Goes on with a client that has begun to answer; false if it does not come to an end in time."""
        if until != inf:
            conn._limit(until - time.monotonic())
        try:
            answer = conn.recv_bytes(256)
            try:
                _verify(authkey, question, answer)
            except connection.AuthenticationError:
                conn.send_bytes(_FAILURE)
                raise
            conn.send_bytes(_WELCOME)
            connection.answer_challenge(conn, authkey)
        except TimeoutError:
            conn.close()
            return False
        except BaseException:
            conn.close()
            raise
        conn._limit(None)
        return True

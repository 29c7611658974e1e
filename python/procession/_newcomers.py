"""How a `Listener` with a key accepts clients, so that a silent client neither blocks others nor stays for ever.

A client is sent a challenge when it connects, and is then one of the newcomers until it answers. Meanwhile others may
connect and be accepted. Challenges and answers are those of the running version's standard library.
"""

import hmac
import os
import time
from math import inf

from . import connection

__all__ = ["Newcomers"]

# Seconds to wait for the newest client before all of them are waited for: most answer within microseconds.
MOMENT = 0.02
# The most newcomers. When there are more, the one that has been silent for the longest time is closed.
MAX = 64

_names = vars(connection)
_CHALLENGE = _names.get("_CHALLENGE") or _names["CHALLENGE"]
_WELCOME = _names.get("_WELCOME") or _names["WELCOME"]
_FAILURE = _names.get("_FAILURE") or _names["FAILURE"]


class _AskedError(Exception):
    """A challenge was sent, and its answer is not waited for."""


class _Asking:
    """Stands for a connection while the standard library's code sends its challenge."""

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
        # For each connection its challenge and its deadline, the oldest connection first.
        self.waiting = {}

    def admit(self, listener, authkey, timeout):
        """Wait for a client that has authenticated, and return its connection, or `None` if the caller must try again.

        Raises what the standard library raises for a client that answers wrongly or disconnects.
        """
        for conn in self._that_answered(listener, authkey, inf if timeout is None else timeout):
            # Another thread may have taken this client.
            question, until = self.waiting.pop(conn, (None, 0))
            if question is not None and self._let_in(conn, authkey, question, until):
                return conn
        return None

    def _that_answered(self, listener, authkey, timeout):
        """Wait until clients have answered, and return them. Send a challenge to a client that connects meanwhile."""
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
        self.waiting[conn] = asking.question, time.monotonic() + timeout
        return [conn] if conn.poll(min(MOMENT, timeout)) else []

    def _accept(self, listener):
        """Accept the next client. Return `None` if it disconnected meanwhile, or another thread accepted it."""
        # Two threads may set this differently. Then one of them only tries once more.
        listener._socket.settimeout(0 if self.waiting else None)
        try:
            return listener.accept()
        except BlockingIOError:
            return None
        finally:
            listener._socket.settimeout(None)

    def _turn_away(self):
        """Close the connections of clients whose time is over, and of the oldest if there are too many."""
        now = time.monotonic()
        waiting = [*self.waiting.items()]
        for place, (conn, (_, until)) in enumerate(waiting):
            if (until <= now or place < len(waiting) - MAX) and self.waiting.pop(conn, None):
                conn.close()

    def _let_in(self, conn, authkey, question, until):
        """Complete the handshake with a client that has begun to answer. Return false if that takes too long."""
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

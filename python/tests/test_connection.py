"""Connections: the bytes on the wire, signals, dying peers, and peers on the standard library."""

import array
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

import procession
from procession import connection
from procession.connection import Client, Connection, Listener

METHODS = ["fork", "spawn", "forkserver"]
pytestmark = pytest.mark.watchdog(120)

KEY = b"a key"
MIB = 1 << 20


@pytest.fixture
def wire():
    """A connection, and the bare socket at its other side."""
    ours, theirs = socket.socketpair()
    with Connection(ours.detach()) as conn, theirs:
        yield conn, theirs


def in_thread(function, *args):
    """Starts a function in another thread; what is returned waits for its answer."""
    answer = []

    def run():
        try:
            answer.append(function(*args))
        except Exception as error:
            answer.append(error)
            raise

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def result():
        thread.join()
        return answer[0]

    return result


# What goes over the wire


@pytest.mark.smoke
@pytest.mark.parametrize(
    "message", [None, 1, "bun", b"", {"a": [1.5, (2,)]}, b"x" * 100_000, list(range(100_000))]
)
def test_objects(pipe, message):
    reader, writer = pipe
    sent = in_thread(writer.send, message)
    assert reader.recv() == message
    assert sent() is None
    assert not reader.poll()


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 65536, 65537, 3 * MIB + 1])
def test_bytes(pipe, size):
    reader, writer = pipe
    message = os.urandom(size)
    sent = in_thread(lambda: [writer.send_bytes(message) for _ in range(3)])
    room = bytearray(size + 10)
    assert reader.recv_bytes() == message
    assert reader.recv_bytes(size) == message
    assert reader.recv_bytes_into(room, 7) == size
    assert room[7 : 7 + size] == message and not any(room[:7]) and not any(room[7 + size :])
    sent()


def test_the_wire_is_the_standard_librarys(wire):
    conn, other = wire
    conn.send_bytes(b"bun")
    assert other.recv(100) == b"\0\0\0\3bun"
    conn.send_bytes(b"")
    assert other.recv(100) == b"\0\0\0\0"
    other.sendall(b"\xff\xff\xff\xff" + struct.pack("!Q", 3) + b"bun")
    assert conn.recv_bytes() == b"bun"


def test_large_parts_of_objects(pipe):
    reader, writer = pipe
    block = os.urandom(100_000)
    table = {
        "first": block,
        "second": [bytearray(block), "x" * 70_000, block[1:]],
        "third": (block, b"small", block),
    }
    sent = in_thread(writer.send, table)
    assert reader.recv() == table
    assert sent() is None
    numpy = pytest.importorskip("numpy")
    for numbers in (
        numpy.arange(20_000.0),
        numpy.ones((300, 200), order="F"),
        numpy.ones((300, 200))[::2],
        numpy.arange(3),
    ):
        numbers.flags.writeable = len(numbers) != 20_000
        sent = in_thread(writer.send, [numbers, "behind"])
        got, behind = reader.recv()
        assert (got == numbers).all() and got.dtype == numbers.dtype and behind == "behind"
        assert sent() is None


def test_nothing_of_the_next_message_is_taken(wire):
    conn, other = wire
    other.sendall(b"\0\0\0\3bun\0\0\0\2ok")
    assert conn.recv_bytes() == b"bun"
    assert os.read(conn.fileno(), 100) == b"\0\0\0\2ok"


def test_parts_of_buffers(pipe):
    reader, writer = pipe
    numbers = array.array("i", range(10))
    writer.send_bytes(numbers)
    writer.send_bytes(numbers, 4)
    writer.send_bytes(numbers, 4, 8)
    assert reader.recv_bytes() == numbers.tobytes()
    assert reader.recv_bytes() == numbers.tobytes()[4:]
    room = array.array("i", [7] * 4)
    assert reader.recv_bytes_into(room, 4) == 8
    assert room == array.array("i", [7, 1, 2, 7])
    for offset, size in [(-1, None), (41, None), (0, -1), (0, 41), (40, 1)]:
        with pytest.raises(ValueError):
            writer.send_bytes(numbers, offset, size)
    with pytest.raises(ValueError):
        reader.recv_bytes_into(room, 17)
    with pytest.raises(TypeError):
        reader.recv_bytes_into(b"read-only")
    with pytest.raises((TypeError, BufferError)):
        writer.send_bytes(memoryview(b"abcdef")[::2])
    assert not reader.poll()


def test_too_long(pipe):
    reader, writer = pipe
    writer.send_bytes(b"a bun")
    with pytest.raises(procession.BufferTooShort) as caught:
        reader.recv_bytes_into(bytearray(4))
    assert caught.value.args == (b"a bun",)
    writer.send_bytes(b"a bun")
    with pytest.raises(OSError, match="bad message length"):
        reader.recv_bytes(4)
    assert reader.closed or not reader.readable


def test_one_way():
    reader, writer = procession.Pipe(duplex=False)
    with pytest.raises(OSError, match="read-only"):
        reader.send(1)
    for receive in (
        writer.recv,
        writer.recv_bytes,
        writer.poll,
        lambda: writer.recv_bytes_into(bytearray(1)),
    ):
        with pytest.raises(OSError, match="write-only"):
            receive()
    writer.close()
    with pytest.raises(OSError, match="closed"):
        writer.send(1)
    with pytest.raises(EOFError):
        reader.recv()
    reader.close()
    assert reader.closed and writer.closed


def test_is_a_connection():
    reader, writer = procession.Pipe()
    assert type(reader) is Connection and isinstance(writer, connection._ConnectionBase)
    assert reader._handle == reader.fileno()
    fd = os.dup(reader.fileno())
    reader.close()
    assert reader._handle is None
    reader._handle = fd
    writer.send("again")
    assert reader.recv() == "again"
    for arguments, kind in [
        ((-1,), ValueError),
        (("x",), (TypeError, AttributeError)),
        ((0, False, False), ValueError),
    ]:
        with pytest.raises(kind):
            Connection(*arguments)


def test_queues_and_locks_inside(pipe):
    reader, writer = pipe
    queue, lock = procession.Queue(), procession.Lock()
    writer.send((queue, lock, writer))
    with lock:
        there, same, conn = reader.recv()
        assert not same.acquire(False)
    queue.put("bun")
    assert there.get() == "bun"
    with conn:
        conn.send("through the copy")
    assert reader.recv() == "through the copy"


# What is broken off


def test_lengths_that_cannot_be(wire):
    conn, other = wire
    other.sendall(struct.pack("!i", -2) + b"more")
    with pytest.raises(OSError, match="bad message length"):
        conn.recv()
    assert not conn.readable


def test_a_hostile_length_takes_no_memory(wire):
    conn, other = wire
    other.sendall(struct.pack("!iQ", -1, 1 << 40))
    with pytest.raises(OSError, match="bad message length"):
        conn.recv_bytes(256)
    conn._readable = True
    other.sendall(struct.pack("!iQ", -1, (1 << 64) - 1))
    with pytest.raises(OSError, match="bad message length"):
        conn.recv()


@pytest.mark.parametrize(
    ("sent", "kind"),
    [(b"", EOFError), (b"\0\0", OSError), (b"\0\0\0\3", EOFError), (b"\0\0\0\3bu", OSError)],
)
def test_truncated(wire, sent, kind):
    conn, other = wire
    other.sendall(sent)
    other.close()
    with pytest.raises(kind):
        conn.recv_bytes()


def test_no_reader_is_left(pipe):
    reader, writer = pipe
    reader.close()
    with pytest.raises(BrokenPipeError):
        writer.send(1)


DIES = """\
import os, signal, sys
import procession

def die(conn):
    message = b"x" * (1 << 20)
    os.write(conn.fileno(), len(message).to_bytes(4, "big") + message[:100_000])
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    ctx = procession.get_context(sys.argv[1])
    ours, theirs = ctx.Pipe()
    p = ctx.Process(target=die, args=(theirs,))
    p.start()
    theirs.close()
    try:
        ours.recv_bytes()
    except OSError as error:
        print(type(error).__name__, error)
    p.join()
"""


@pytest.mark.parametrize("method", METHODS)
def test_a_peer_dies_in_the_middle(run_script, method):
    result = run_script(DIES, method)
    result.check()
    assert result.stdout == "OSError got end of file during message\n"


# Signals


class Rang(Exception):
    """What a signal handler raises."""


@pytest.fixture
def alarm():
    """A function that has the alarm go off after some seconds, and `act` called then."""

    def alarm(seconds, act):
        signal.signal(signal.SIGALRM, lambda *_: act())
        signal.setitimer(signal.ITIMER_REAL, seconds)

    before = signal.getsignal(signal.SIGALRM)
    yield alarm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def ring():
    """A signal handler that raises."""
    raise Rang


def test_a_handler_that_returns(pipe, alarm):
    reader, writer = pipe
    alarm(0.05, lambda: writer.send("rang"))
    assert reader.recv() == "rang"
    alarm(0.05, lambda: writer.send("rang"))
    assert reader.poll(None)
    assert reader.recv() == "rang"


@pytest.mark.parametrize(
    "wait", [lambda conn: conn.recv(), lambda conn: conn.poll(None), lambda conn: conn.poll(60)]
)
def test_a_handler_that_raises(pipe, alarm, wait):
    reader, writer = pipe
    alarm(0.05, ring)
    with pytest.raises(Rang):
        wait(reader)
    writer.send("all is well")
    assert reader.recv() == "all is well"


def test_a_handler_returns_in_the_middle(wire, alarm):
    conn, other = wire
    message = os.urandom(2 * MIB)
    count = 0

    def drain():
        nonlocal count
        count += len(other.recv(MIB))

    alarm(0.05, lambda: in_thread(lambda: [drain() for _ in iter(lambda: count < len(message) + 4, False)]))
    conn.send_bytes(message)
    alarm(0.05, lambda: other.sendall(b"n"))
    other.sendall(b"\0\0\0\3bu")
    assert conn.recv_bytes() == b"bun"


def test_broken_off_in_the_middle(wire, alarm):
    conn, other = wire
    other.sendall(b"\0\0\0\3bu")
    alarm(0.05, ring)
    with pytest.raises(Rang):
        conn.recv()
    other.sendall(b"n\0\0\0\3bun")
    with pytest.raises(OSError, match="broken off"):
        conn.recv()
    conn.send_bytes(b"this way is whole")
    alarm(0.05, ring)
    with pytest.raises(Rang):
        conn.send_bytes(bytes(4 * MIB))
    os.set_blocking(conn.fileno(), False)
    with pytest.raises(OSError, match="broken off"):
        conn.send_bytes(b"")


# Waiting


def test_poll(pipe):
    reader, writer = pipe
    assert reader.poll() is False
    assert reader.poll(-1) is False
    begin = time.monotonic()
    assert reader.poll(0.1) is False
    assert time.monotonic() - begin >= 0.1
    polled = in_thread(reader.poll, None)
    writer.send(1)
    assert polled() is True
    assert reader.recv() == 1
    writer.close()
    assert reader.poll() is True


def test_a_descriptor_that_does_not_block(wire):
    conn, _ = wire
    os.set_blocking(conn.fileno(), False)
    with pytest.raises(BlockingIOError):
        conn.recv()


def test_other_files():
    first, second = os.openpty()
    with Connection(first) as conn:
        os.write(second, b"\0\0\0\3bun\n")
        assert conn.recv_bytes() == b"bun"
    os.close(second)


def test_another_file_behind_a_descriptor():
    reader, writer = procession.Pipe(duplex=False)
    ours, theirs = socket.socketpair()
    writer.send(1)
    assert reader.recv() == 1
    os.dup2(ours.fileno(), reader.fileno())
    os.dup2(theirs.fileno(), writer.fileno())
    writer.send(2)
    assert reader.recv() == 2
    ours.close()
    theirs.close()


# Listeners


@pytest.fixture(params=["AF_UNIX", "AF_INET"])
def listener(request):
    """A listener with a key."""
    with Listener(family=request.param, authkey=KEY) as listener:
        yield listener


def silent(listener):
    """A client that connects and says nothing."""
    client = socket.socket(getattr(socket, listener._listener._family))
    client.connect(listener.address)
    return client


def test_authenticated(listener):
    accepted = in_thread(listener.accept)
    with Client(listener.address, authkey=KEY) as client, accepted() as conn:
        assert type(client) is type(conn) is Connection
        client.send("bun")
        assert conn.recv() == "bun"
        sent = in_thread(conn.send_bytes, bytes(3 * MIB))
        assert len(client.recv_bytes()) == 3 * MIB
        sent()


def test_without_a_key():
    with Listener() as listener:
        accepted = in_thread(listener.accept)
        with Client(listener.address) as client, accepted() as conn:
            client.send("bun")
            assert conn.recv() == "bun"
    with pytest.raises(OSError, match="closed"):
        listener.accept()


def try_accept(listener):
    """What accept() raises."""
    try:
        return listener.accept()
    except Exception as error:
        return error


def test_a_wrong_key(listener):
    for key, kind in [(b"another", procession.AuthenticationError), (None, EOFError)]:
        accepted = in_thread(try_accept, listener)
        if key is None:
            silent(listener).close()
        else:
            with pytest.raises(procession.AuthenticationError):
                Client(listener.address, authkey=key)
        # It depends on when the client goes.
        assert isinstance(accepted(), (kind, ConnectionError))
    test_authenticated(listener)


def test_silent_clients_keep_nobody_out(listener):
    listener.handshake_timeout = None
    mutes = []
    for _ in range(3):
        mutes.append(silent(listener))
        test_authenticated(listener)
    assert len(listener._newcomers.waiting) == 3
    # One of them speaks after all.
    conn = Connection(mutes[1].detach())
    accepted = in_thread(listener.accept)
    connection.answer_challenge(conn, KEY)
    connection.deliver_challenge(conn, KEY)
    with conn, accepted() as other:
        conn.send("late")
        assert other.recv() == "late"
    for mute in mutes:
        mute.close()


@pytest.mark.parametrize("said", [b"", b"\0\0", b"\0\0\0\x20half an answer"])
def test_silent_clients_are_sent_away(listener, said):
    listener.handshake_timeout = 0.2
    accepted = in_thread(listener.accept)
    with silent(listener) as mute:
        mute.sendall(said)
        while mute.recv(1000):
            pass
    with Client(listener.address, authkey=KEY), accepted():
        pass


def test_silent_clients_are_not_too_many(listener):
    listener._listener._socket.listen(100)
    accepted = in_thread(listener.accept)
    mutes = [silent(listener) for _ in range(70)]
    # The first is the first to go.
    while mutes[0].recv(1000):
        pass
    with Client(listener.address, authkey=KEY), accepted():
        assert len(listener._newcomers.waiting) <= 65
    for mute in mutes:
        mute.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_newcomers_are_not_the_forked_childs(listener):
    with silent(listener):
        test_authenticated(listener)
        pid = os.fork()
        if pid == 0:
            try:
                test_authenticated(listener)
                os._exit(0 if not listener._newcomers.waiting else 1)
            finally:
                os._exit(2)
        assert os.waitpid(pid, 0)[1] == 0
        assert len(listener._newcomers.waiting) == 1


# Programs on the standard library

PEER = """\
import multiprocessing.connection as connection, sys
assert "procession" not in sys.modules
side, family, address, key = sys.argv[1:]
address = eval(address)
if side == "client":
    conn = connection.Client(address, authkey=key.encode())
else:
    listener = connection.Listener(address, family, authkey=key.encode())
    print(repr(listener.address), flush=True)
    try:
        conn = listener.accept()
    except connection.AuthenticationError:
        sys.exit("refused")
while (message := conn.recv()) is not None:
    if isinstance(message, bytes):
        conn.send_bytes(message)
    else:
        conn.send(message)
"""


def pythons():
    """A Python of each minor version from 3.11 on, among those that are found."""
    found = {sys.version_info[:2]: sys.executable}
    for program in sorted(pathlib.Path.home().glob(".pyenv/versions/3.*/bin/python")):
        numbers = program.parent.parent.name.split(".")
        if numbers[1].isdigit() and int(numbers[1]) >= 11:
            found.setdefault((3, int(numbers[1])), str(program))
    return found


def peer(version, side, family, address, key=KEY):
    """Starts a program on the standard library."""
    program = pythons().get(version)
    if program is None:
        pytest.skip(f"there is no Python {version[0]}.{version[1]} here")
    command = [program, "-c", PEER, side, family, repr(address), key.decode()]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def talk(conn):
    """Has messages come back."""
    for message in (1, {"a": [1.5, "bun"]}, "x" * 100_000, tuple(range(1000))):
        conn.send(message)
        assert conn.recv() == message
    for size in (0, 1, 16385, 3 * MIB):
        message = os.urandom(size)
        sent = in_thread(conn.send, message)
        assert conn.recv_bytes() == message
        sent()
    conn.send(None)


VERSIONS = pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)], ids="{0[0]}.{0[1]}".format)


@VERSIONS
def test_a_client_on_the_standard_library(listener, version):
    accepted = in_thread(listener.accept)
    with peer(version, "client", listener._listener._family, listener.address) as client, accepted() as conn:
        talk(conn)
        assert client.wait() == 0, client.stderr.read()


@VERSIONS
@pytest.mark.parametrize("family", ["AF_UNIX", "AF_INET"])
def test_a_listener_on_the_standard_library(version, family):
    with peer(version, "listener", family, None) as server:
        address = eval(server.stdout.readline())
        with Client(address, authkey=KEY) as conn:
            talk(conn)
        assert server.wait() == 0, server.stderr.read()


@VERSIONS
def test_the_standard_library_with_another_key(listener, version):
    accepted = in_thread(try_accept, listener)
    family = listener._listener._family
    with peer(version, "client", family, listener.address, b"another") as client:
        assert isinstance(accepted(), procession.AuthenticationError)
        assert "AuthenticationError" in client.stderr.read()
    with peer(version, "listener", family, None) as server:
        address = eval(server.stdout.readline())
        with pytest.raises(procession.AuthenticationError):
            Client(address, authkey=b"another")
        assert "refused" in server.stderr.read()

"""Large messages between the ends of a pipe: their contents are handed over in shared memory.

Only the speed shows this. Another reader of the descriptor finds the standard library's bytes in it.
"""

import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import threading
import time

import pytest

import procession
from procession import _engine, connection, reduction

METHODS = ["fork", "spawn", "forkserver"]
pytestmark = pytest.mark.watchdog(120)

MIB = 1 << 20


class Sending:
    """Calls something that sends, in another thread; used as a context, whose end waits for it."""

    def __init__(self, function, *args):
        self.error = None
        self.thread = threading.Thread(target=self.run, args=(function, *args), daemon=True)

    def run(self, function, *args):
        try:
            function(*args)
        except Exception as error:
            self.error = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.thread.join()


def block(i, size=MIB):
    return bytes([i % 256]) * size


def same(got, expected):
    """Whether they are equal; a difference of such size is nothing to be shown."""
    return got == expected


def in_descriptor(conn):
    """Bytes that wait in a connection's descriptor."""
    return struct.unpack("i", fcntl.ioctl(conn.fileno(), termios.FIONREAD, b"\0\0\0\0"))[0]


def wait_for_head(reader):
    """Wait until a message begins; assert that its contents do not come through the descriptor."""
    assert reader.poll(None)
    time.sleep(0.01)
    assert in_descriptor(reader) == 12


def read_all(fd, size):
    data = b""
    while len(data) < size:
        data += os.read(fd, size - len(data))
    return data


@pytest.mark.smoke
def test_contents_do_not_go_through_the_descriptor(pipe):
    reader, writer = pipe
    for i in range(10):
        with Sending(writer.send_bytes, block(i)):
            wait_for_head(reader)
            assert same(reader.recv_bytes(), block(i))
        writer.send_bytes(b"small")
        assert reader.recv_bytes() == b"small"


def test_every_way_to_send_and_to_receive(pipe):
    reader, writer = pipe
    objects = [
        block(1),
        "x" * MIB,
        bytearray(MIB),
        [block(2), {"a": block(3)}, (block(4), "small")],
        list(range(200_000)),
    ]
    for thing in objects:
        with Sending(writer.send, thing):
            wait_for_head(reader)
            assert same(reader.recv(), thing)
    message = os.urandom(MIB)
    room = bytearray(MIB)
    with Sending(writer.send_bytes, message, 7, MIB - 10):
        wait_for_head(reader)
        assert same(reader.recv_bytes_into(room, 5), MIB - 10)
    assert room[5 : MIB - 5] == message[7 : MIB - 3] and not any(room[:5]) and not any(room[MIB - 5 :])
    with Sending(writer.send_bytes, message), pytest.raises(procession.BufferTooShort) as caught:
        reader.recv_bytes_into(room, 1)
    assert caught.value.args == (message,)
    with Sending(writer.send_bytes, message), pytest.raises(OSError, match="bad message length"):
        reader.recv_bytes(MIB - 1)


def test_in_order(pipe):
    reader, writer = pipe
    sent = [block(i, size) for i in range(30) for size in (10, MIB, 3, 70_000, 250_000, 300_000)]
    with Sending(lambda: [writer.send_bytes(message) for message in sent]):
        time.sleep(0.1)
        assert same([reader.recv_bytes() for _ in sent], sent)


def test_both_ways_at_once():
    one, other = procession.Pipe()
    sent, got = [block(i, MIB + i) for i in range(50)], []
    with (
        Sending(lambda: [one.send_bytes(message) for message in sent]),
        Sending(lambda: [other.send_bytes(message) for message in reversed(sent)]),
        Sending(lambda: got.extend(one.recv_bytes() for _ in sent)),
    ):
        assert same([other.recv_bytes() for _ in sent], sent)
    assert same(got, sent[::-1])


def test_very_large_ones_take_no_memory(pipe):
    reader, writer = pipe
    before = _engine.resident_bytes()
    message = bytes(40 * MIB)
    with Sending(writer.send_bytes, message):
        assert reader.poll(None)
        assert _engine.resident_bytes() < before + MIB
        assert same(reader.recv_bytes(), message)


def test_what_the_descriptor_has_room_for_does_not_wait(pipe):
    reader, writer = pipe
    size = 64_000 if writer.fileno() and not writer.readable else 200_000
    writer.send_bytes(block(1, size))
    assert same(reader.recv_bytes(), block(1, size))


def test_a_descriptor_that_does_not_wait(pipe):
    _reader, writer = pipe
    os.set_blocking(writer.fileno(), False)
    with pytest.raises(BlockingIOError):
        writer.send_bytes(block(1))


# Whoever else has the descriptor


def frames_of(messages):
    return b"".join(b"\xff\xff\xff\xff" + struct.pack("!Q", len(message)) + message for message in messages)


def test_whoever_reads_the_descriptor_finds_everything_in_it(pipe):
    reader, writer = pipe
    sent = [block(i) for i in range(3)]
    with Sending(lambda: [writer.send_bytes(message) for message in sent]):
        wait_for_head(reader)
        time.sleep(0.5)  # as long as nobody reads, there is no hurry
        assert in_descriptor(reader) == 12
        assert same(read_all(reader.fileno(), 3 * (12 + MIB)), frames_of(sent))
    # By now it is known that the other end does not know the bypass.
    with Sending(writer.send_bytes, block(4)):
        assert same(read_all(reader.fileno(), 4 + MIB), struct.pack("!i", MIB) + block(4))


def another(way, conn):
    """Another connection of the same descriptor."""
    if way == "dup":
        return connection.Connection(os.dup(conn.fileno()), writable=conn.writable)
    if way == "DupFd":
        return connection.Connection(reduction.DupFd(conn.fileno()).detach(), writable=conn.writable)
    if way == "pickled":
        return reduction.ForkingPickler.loads(reduction.ForkingPickler.dumps(conn))
    fd = os.dup(conn.fileno())
    os.close(conn._handle)
    conn._handle = fd
    return conn


@pytest.mark.parametrize("way", ["dup", "DupFd", "pickled", "_handle"])
def test_another_connection_of_the_same_descriptor(pipe, way):
    reader, writer = pipe
    with Sending(lambda: [writer.send_bytes(block(i)) for i in range(6)]):
        assert reader.poll(None)
        with another(way, reader) as other:
            assert same([other.recv_bytes() for _ in range(6)], [block(i) for i in range(6)])


CHILD = """
import sys
from multiprocessing.connection import Connection
conn = Connection(int(sys.argv[1]))
for message in iter(conn.recv_bytes, b""):
    conn.send_bytes(message[::-1])
"""


def test_the_standard_library_at_the_other_end():
    ours, theirs = procession.Pipe()
    message = os.urandom(150_000)
    ours.send_bytes(message)  # before the child has it
    fd = theirs.fileno()
    with subprocess.Popen([sys.executable, "-c", CHILD, str(fd)], pass_fds=[fd]) as child:
        assert same(ours.recv_bytes(), message[::-1])
        for _ in range(5):
            message = os.urandom(MIB)
            ours.send_bytes(message)
            assert same(ours.recv_bytes(), message[::-1])
        ours.send_bytes(b"")
    assert child.returncode == 0


# Ends on their way


def reverse(conn):
    for message in iter(conn.recv_bytes, b""):
        conn.send_bytes(message[::-1])


@pytest.mark.parametrize("method", METHODS)
def test_there_and_back(method):
    context = procession.get_context(method)
    ours, theirs = context.Pipe()
    child = context.Process(target=reverse, args=(theirs,))
    child.start()
    theirs.close()
    for size in (10, 40_000, MIB, 17 * MIB, MIB, 10):
        message = os.urandom(size)
        ours.send_bytes(message)
        assert same(ours.recv_bytes(), message[::-1])
    ours.send_bytes(b"")
    child.join()
    assert child.exitcode == 0


def receive_slowly(conn, ready):
    ready.put(conn._bypass is not None)
    conn.poll(None)
    time.sleep(0.1)
    ready.put(in_descriptor(conn))
    conn.send(conn.recv_bytes() == block(1))


@pytest.mark.parametrize("method", METHODS)
def test_a_child_has_the_bypass(method):
    context = procession.get_context(method)
    ours, theirs = context.Pipe()
    ready = context.SimpleQueue()
    child = context.Process(target=receive_slowly, args=(theirs, ready))
    child.start()
    theirs.close()
    ours.send_bytes(block(1))
    assert same((ready.get(), ready.get(), ours.recv()), (True, 12, True))
    child.join()


def take_end(carrier):
    conn = carrier.recv() if hasattr(carrier, "recv") else carrier.get()
    for i in range(6):
        if conn.recv_bytes() != block(i):
            sys.exit(3)
    conn.send_bytes(block(7))


@pytest.mark.parametrize("carrier", ["pipe", "queue"])
@pytest.mark.parametrize("method", METHODS)
def test_an_end_is_sent_while_somebody_sends_to_it(method, carrier):
    context = procession.get_context(method)
    ours, theirs = context.Pipe()
    carry, carried = context.Pipe() if carrier == "pipe" else [context.Queue()] * 2
    child = context.Process(target=take_end, args=(carried,))
    child.start()
    with Sending(lambda: [ours.send_bytes(block(i)) for i in range(6)]) as sending:
        assert theirs.poll(None)
        (carry.send if carrier == "pipe" else carry.put)(theirs)
        theirs.close()
        assert same(ours.recv_bytes(), block(7))
    assert sending.error is None
    child.join()
    assert child.exitcode == 0


class Lazy:
    """Pickles a connection inside its own pickle, and makes it again late."""

    def __init__(self, conn):
        self.conn = conn

    def __getstate__(self):
        return bytes(reduction.ForkingPickler.dumps(self.conn))

    def __setstate__(self, state):
        self.state = state

    def get(self):
        return reduction.ForkingPickler.loads(self.state)


def receive_late(lazy):
    conn = lazy.get()
    conn.send(conn.recv_bytes() == block(1))


def test_a_pickle_in_a_pickle():
    context = procession.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=receive_late, args=(Lazy(theirs),))
    child.start()
    ours.send_bytes(block(1))
    assert ours.recv()
    child.join()


# Threads, signals, deaths


def test_many_threads_send(pipe):
    reader, writer = pipe
    lock = threading.Lock()  # as with any pipe

    def send(i):
        for _ in range(20):
            with lock:
                writer.send_bytes(block(i, 300_000 + i))

    threads = [threading.Thread(target=send, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    got = [reader.recv_bytes() for _ in range(8 * 20)]
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(block(i, 300_000 + i) for i in range(8) for _ in range(20))


def test_a_connection_is_closed_while_it_sends(tmp_path):
    for turn in range(20):
        reader, writer = procession.Pipe()
        fd = writer.fileno()
        with (tmp_path / str(turn)).open("wb") as file:
            with Sending(writer.send_bytes, block(1, 16 * MIB)) as sending:
                time.sleep(turn * 0.0003)
                # What the number stands for from now on is nobody's business who sends.
                os.dup2(file.fileno(), fd)
                writer._handle = None
                reader.close()
            assert sending.error is not None
            os.close(fd)
            assert not file.tell() and not os.fstat(file.fileno()).st_size


class Rang(Exception):
    """What the signal handler raises."""


def ring(*_):
    raise Rang


@pytest.fixture
def alarm():
    """A function that has a handler raise after some seconds."""
    before = signal.signal(signal.SIGALRM, ring)
    yield lambda after: signal.setitimer(signal.ITIMER_REAL, after)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def fill(conn):
    """Write small messages until the descriptor has no room for another; how many."""
    count = 0
    os.set_blocking(conn.fileno(), False)
    while True:
        try:
            os.write(conn.fileno(), b"\0\0\0\4full")
        except BlockingIOError:
            break
        count += 1
    os.set_blocking(conn.fileno(), True)
    return count


def test_a_handler_raises_before_the_length_is_written(pipe, alarm):
    reader, writer = pipe
    for _ in range(3):
        small = fill(writer)
        alarm(0.1)
        with pytest.raises(Rang):
            writer.send_bytes(block(8))
        assert same([reader.recv_bytes() for _ in range(small)], [b"full"] * small)
        assert not reader.poll()
        # Nothing of it stays.
        with Sending(writer.send_bytes, block(9)):
            wait_for_head(reader)
            assert same(reader.recv_bytes(), block(9))


def test_a_handler_raises_while_the_reader_is_awaited(pipe, alarm):
    reader, writer = pipe
    alarm(0.1)
    with pytest.raises(Rang):
        writer.send_bytes(block(8))
    with pytest.raises(OSError, match="broken off"):
        writer.send_bytes(b"more")
    writer.close()
    with pytest.raises(EOFError):
        reader.recv_bytes()


def test_nobody_can_receive_any_more(pipe):
    reader, writer = pipe
    with Sending(writer.send_bytes, block(8)) as sending:
        assert reader.poll(None)
        reader.close()
    assert isinstance(sending.error, BrokenPipeError)


def send_one(conn):
    conn.send_bytes(block(8))


def kill(child):
    child.kill()
    child.join()


def test_a_sender_is_killed_before_the_length_is_written(pipe):
    reader, writer = pipe
    small = fill(writer)
    child = procession.get_context("fork").Process(target=send_one, args=(writer,))
    child.start()
    while writer._bypass._is_free():
        time.sleep(0.001)
    kill(child)
    assert same([reader.recv_bytes() for _ in range(small)], [b"full"] * small)
    assert not reader.poll()
    # What it left in the bypass is not taken; the descriptor carries everything.
    for i in range(5):
        with Sending(writer.send_bytes, block(i)):
            assert same(reader.recv_bytes(), block(i))


def test_a_sender_is_killed_while_the_reader_is_awaited(pipe):
    reader, writer = pipe
    child = procession.get_context("fork").Process(target=send_one, args=(writer,))
    child.start()
    wait_for_head(reader)
    kill(child)
    # It is there, whole.
    assert same(reader.recv_bytes(), block(8))
    with Sending(writer.send_bytes, block(9)):
        wait_for_head(reader)
        assert same(reader.recv_bytes(), block(9))


def read_the_length(conn):
    os.read(conn.fileno(), 12)
    time.sleep(1000)


def test_a_reader_is_killed_between_length_and_contents(pipe):
    reader, writer = pipe
    with Sending(writer.send_bytes, block(8)) as sending:
        wait_for_head(reader)
        child = procession.get_context("fork").Process(target=read_the_length, args=(reader,))
        child.start()
        while in_descriptor(reader) == 12:
            time.sleep(0.001)
        kill(child)
        # As with any pipe, the next one reads what is left of it.
        assert same(read_all(reader.fileno(), MIB), block(8))
    assert sending.error is None


BY_HAND = """
import os, signal, time
import procession
from procession import _engine

def turn(size):
    reader, writer = procession.Pipe()
    pid = os.fork()
    if pid == 0:
        writer.send_bytes(bytes(size))
        os._exit(1)
    reader.poll(None)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    # Never received.
    reader.close(), writer.close()

for _ in range(150):
    turn(1 << 20)
    # What died within the last second may be there yet.
    time.sleep(0.025)
assert _engine.resident_bytes() < 100 << 20, _engine.resident_bytes()
print("well")
"""


def test_memory_of_children_forked_by_hand_goes_back(run_script):
    result = run_script(BY_HAND)
    result.check()
    assert result.stdout == "well\n"


NO_MEMORY = """
import threading
import procession

queue = procession.Queue()
before = procession.Pipe()
count = 0
for size in (1 << 20, 100_000, 10_000, 1_000, 10):
    try:
        while True:
            queue.put(bytes(size))
            count += 1
    except MemoryError:
        pass
kept = []
try:
    while True:
        kept.append(procession.SimpleQueue())
except MemoryError:
    pass
after = procession.Pipe()
assert after[0]._bypass is None
for reader, writer in (before, after):
    sent = [bytes([i]) * size for i, size in enumerate([10, 1 << 20, 300_000, 10])]
    thread = threading.Thread(target=lambda: [writer.send_bytes(message) for message in sent])
    thread.start()
    assert [reader.recv_bytes() for _ in sent] == sent
    thread.join()
print("well")
"""


def test_without_memory_the_descriptor_carries_all(run_script):
    result = run_script(NO_MEMORY, env={"PROCESSION_HEAP_BYTES": str(64 * MIB)})
    result.check()
    assert result.stdout == "well\n"


KILLS = """
import os, random, signal, sys, time
import procession

def send(conn):
    i = 0
    while True:
        size = random.choice([100, 100_000, 300_000, 1_000_000])
        conn.send_bytes(i.to_bytes(8, "big") + bytes([i % 256]) * size)
        i += 1

def receive(conn):
    expected = 0
    while True:
        try:
            message = conn.recv_bytes()
        except EOFError:
            return
        except OSError as error:
            assert "end of file during message" in str(error), error
            return
        i = int.from_bytes(message[:8], "big")
        assert i == expected, (i, expected)
        assert message[8:] == bytes([i % 256]) * (len(message) - 8), i
        expected += 1

def kept(action, conn, other):
    # A forked child has both.
    other.close()
    try:
        action(conn)
    except (BrokenPipeError, ConnectionResetError):
        pass

if __name__ == "__main__":
    ctx = procession.get_context(sys.argv[1])
    random.seed(int(sys.argv[2]))
    before = None
    for turn in range(int(sys.argv[3])):
        reader, writer = ctx.Pipe(turn % 2 == 0)
        one = ctx.Process(target=kept, args=(send, writer, reader))
        two = ctx.Process(target=kept, args=(receive, reader, writer))
        one.start(), two.start()
        reader.close(), writer.close()
        time.sleep(random.uniform(0.0, 0.1))
        victim, other = random.choice([(one, two), (two, one)])
        victim.kill()
        victim.join()
        other.join()
        assert other.exitcode == 0, (turn, other.exitcode)
        used = procession._engine.resident_bytes()
        before = before or used
        assert used < before + (16 << 20), (turn, used, before)
    print("well")
"""


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_kills(run_script, method):
    result = run_script(KILLS, method, 1, 60)
    result.check()
    assert result.stdout == "well\n"

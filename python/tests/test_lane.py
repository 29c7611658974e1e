"""Large messages between the ends of a pipe: they go through shared memory, and nothing shows it but the speed."""

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
from procession import _engine, connection

METHODS = ["fork", "spawn", "forkserver"]
pytestmark = pytest.mark.watchdog(120)

MIB = 1 << 20
# Messages that a lane has room for.
ROOM = 4


@pytest.fixture(params=[True, False], ids=["duplex", "one-way"])
def pipe(request):
    """The ends of a pipe, the reader first."""
    reader, writer = procession.Pipe(request.param)
    with reader, writer:
        yield reader, writer


def block(i, size=MIB):
    return bytes([i % 256]) * size


def in_descriptor(conn):
    """Bytes that wait in a connection's descriptor."""
    return struct.unpack("i", fcntl.ioctl(conn._handle, termios.FIONREAD, b"\0\0\0\0"))[0]


def read_all(fd, size):
    data = b""
    while len(data) < size:
        data += os.read(fd, size - len(data))
    return data


@pytest.mark.smoke
def test_large_messages_do_not_go_through_the_descriptor(pipe):
    reader, writer = pipe
    for i in range(ROOM):
        writer.send_bytes(block(i))
    assert in_descriptor(reader) == ROOM * 12
    assert [reader.recv_bytes() for _ in range(ROOM)] == [block(i) for i in range(ROOM)]
    writer.send_bytes(b"small")
    assert in_descriptor(reader) == 4 + 5
    assert reader.recv_bytes() == b"small"


def test_every_way_to_send_and_to_receive(pipe):
    reader, writer = pipe
    objects = [block(1), "x" * MIB, bytearray(MIB), [block(2), {"a": block(3)}, (block(4), "small")], list(range(50_000))]
    for thing in objects:
        writer.send(thing)
        assert in_descriptor(reader) == 12
        assert reader.recv() == thing
    message = os.urandom(MIB)
    writer.send_bytes(message, 7, MIB - 10)
    room = bytearray(MIB)
    assert reader.recv_bytes_into(room, 5) == MIB - 10
    assert room[5 : MIB - 5] == message[7 : MIB - 3] and not any(room[:5]) and not any(room[MIB - 5 :])
    writer.send_bytes(message)
    with pytest.raises(procession.BufferTooShort) as caught:
        reader.recv_bytes_into(room, 1)
    assert caught.value.args == (message,)
    writer.send_bytes(message)
    with pytest.raises(OSError):
        reader.recv_bytes(MIB - 1)


def test_where_there_is_no_room_the_descriptor_carries_them_in_order(pipe):
    reader, writer = pipe
    sent = [block(i, size) for i in range(30) for size in (10, MIB, 3)]

    def send():
        for message in sent:
            writer.send_bytes(message)

    thread = threading.Thread(target=send)
    thread.start()
    time.sleep(0.2)
    assert [reader.recv_bytes() for _ in sent] == sent
    thread.join()


def test_very_large_ones_take_no_memory(pipe):
    reader, writer = pipe
    before = _engine.resident_bytes()
    message = bytes(40 * MIB)
    thread = threading.Thread(target=writer.send_bytes, args=(message,))
    thread.start()
    assert reader.poll(None)
    assert _engine.resident_bytes() < before + MIB
    assert reader.recv_bytes() == message
    thread.join()


def test_both_ways():
    with_lane, other = procession.Pipe()
    for i in range(10):
        with_lane.send_bytes(block(i))
        other.send_bytes(block(2 * i))
        assert in_descriptor(other) == in_descriptor(with_lane) == 12
        assert other.recv_bytes() == block(i) and with_lane.recv_bytes() == block(2 * i)


# Whoever has the descriptor


@pytest.mark.parametrize("asks", [0, 1], ids=["reader", "writer"])
def test_whoever_asks_for_the_descriptor_finds_everything_in_it(pipe, asks):
    reader, writer = pipe
    writer.send_bytes(block(1))
    fd = pipe[asks].fileno()
    # What is on its way arrives.
    assert reader.recv_bytes() == block(1)
    thread = threading.Thread(target=writer.send_bytes, args=(block(2),))
    thread.start()
    assert read_all(reader._handle, 4 + MIB) == struct.pack("!i", MIB) + block(2)
    thread.join()
    assert fd == pipe[asks]._handle


def test_the_other_way_is_shut_too():
    one, other = procession.Pipe()
    one.fileno()
    threads = [threading.Thread(target=end.send_bytes, args=(block(3),)) for end in (one, other)]
    for thread in threads:
        thread.start()
    assert read_all(other._handle, 4 + MIB) == read_all(one._handle, 4 + MIB) == struct.pack("!i", MIB) + block(3)
    for thread in threads:
        thread.join()


def test_looking_does_not_ask_for_the_descriptor(pipe):
    reader, writer = pipe
    queue = procession.Queue()
    event = procession.Event()
    for others in ([], [queue], [event], [queue, event]):
        assert connection.wait([reader, *others], 0) == []
        writer.send_bytes(block(4))
        assert in_descriptor(reader) == 12
        assert connection.wait([reader, *others]) == [reader]
        assert reader.poll() and repr(reader)
        assert reader.recv_bytes() == block(4)


def test_a_descriptor_taken_behind_the_connections_back(pipe):
    reader, writer = pipe
    writer.send_bytes(block(5))
    with connection.Connection(os.dup(reader._handle), writable=False) as bare, pytest.raises(OSError, match="length"):
        bare.recv_bytes()


def test_another_descriptor_has_no_lane(pipe):
    reader, writer = pipe
    ours, theirs = os.pipe()
    old, writer._handle = writer._handle, theirs
    os.close(old)
    thread = threading.Thread(target=writer.send_bytes, args=(block(6),))
    thread.start()
    assert read_all(ours, 4 + MIB) == struct.pack("!i", MIB) + block(6)
    thread.join()
    os.close(ours)


def test_the_standard_library_gets_the_descriptor():
    ours, theirs = procession.Pipe()
    code = f"""
from multiprocessing.connection import Connection
conn = Connection({theirs.fileno()})
conn.send_bytes(conn.recv_bytes()[::-1])
"""
    with subprocess.Popen([sys.executable, "-c", code], pass_fds=[theirs.fileno()]) as child:
        message = os.urandom(MIB)
        ours.send_bytes(message)
        assert ours.recv_bytes() == message[::-1]
    assert child.returncode == 0


# Ends on their way


def send_and_leave(conn, kill):
    for i in range(ROOM):
        conn.send_bytes(block(i))
    if kill:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("kill", [False, True], ids=["ends", "is killed"])
@pytest.mark.parametrize("method", METHODS)
def test_what_was_sent_outlives_its_sender(method, kill):
    context = procession.get_context(method)
    reader, writer = context.Pipe(duplex=False)
    child = context.Process(target=send_and_leave, args=(writer, kill))
    child.start()
    writer.close()
    child.join()
    assert child.exitcode == (-signal.SIGKILL if kill else 0)
    # That it ended says that it did not wait: a descriptor has no room for so much.
    assert [reader.recv_bytes() for _ in range(ROOM)] == [block(i) for i in range(ROOM)]
    with pytest.raises(EOFError):
        reader.recv_bytes()


def reverse(conn):
    for message in iter(conn.recv_bytes, b""):
        conn.send_bytes(message[::-1])


@pytest.mark.parametrize("method", METHODS)
def test_there_and_back(method):
    context = procession.get_context(method)
    ours, theirs = context.Pipe()
    child = context.Process(target=reverse, args=(theirs,))
    child.start()
    for size in (10, 40_000, MIB, 17 * MIB, MIB, 10):
        message = os.urandom(size)
        ours.send_bytes(message)
        assert ours.recv_bytes() == message[::-1]
    ours.send_bytes(b"")
    child.join()
    assert child.exitcode == 0


def take_end(carrier):
    conn = carrier.recv() if hasattr(carrier, "recv") else carrier.get()
    for i in range(2 * ROOM):
        if conn.recv_bytes() != block(i):
            sys.exit(3)
    conn.send_bytes(block(7))


@pytest.mark.parametrize("carrier", ["pipe", "queue"])
@pytest.mark.parametrize("method", METHODS)
def test_an_end_that_is_sent_keeps_what_waits_in_it(method, carrier):
    context = procession.get_context(method)
    ours, theirs = context.Pipe()
    carry, carried = context.Pipe() if carrier == "pipe" else [context.Queue()] * 2
    child = context.Process(target=take_end, args=(carried,))
    child.start()
    for i in range(ROOM):
        ours.send_bytes(block(i))
    (carry.send if carrier == "pipe" else carry.put)(theirs)
    theirs.close()
    for i in range(ROOM, 2 * ROOM):
        ours.send_bytes(block(i))
    assert ours.recv_bytes() == block(7)
    child.join()
    assert child.exitcode == 0


# Threads, signals, deaths


def test_many_threads_send(pipe):
    reader, writer = pipe
    # What does not find room in the lane is written in many pieces: threads take turns there, as with any pipe.
    lock, send = threading.Lock(), writer.send_bytes

    def turn(message):
        with lock:
            send(message)

    threads = [
        threading.Thread(target=lambda i=i: [turn(block(i, 100_000 + i)) for _ in range(50)]) for i in range(8)
    ]
    for thread in threads:
        thread.start()
    got = [reader.recv_bytes() for _ in range(8 * 50)]
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(block(i, 100_000 + i) for i in range(8) for _ in range(50))


class Rang(Exception):
    """What the signal handler raises."""


def ring(*_):
    raise Rang


def fill(conn):
    """Write small messages until the descriptor has no room for another; how many."""
    count = 0
    os.set_blocking(conn._handle, False)
    while True:
        try:
            os.write(conn._handle, b"\0\0\0\4full")
        except BlockingIOError:
            break
        count += 1
    os.set_blocking(conn._handle, True)
    return count


def test_a_handler_raises_between_message_and_note(pipe):
    reader, writer = pipe
    before = signal.signal(signal.SIGALRM, ring)
    try:
        for broken_off in range(1, 3):
            small = fill(writer)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(Rang):
                writer.send_bytes(block(8))
            for _ in range(small):
                assert reader.recv_bytes() == b"full"
            assert not reader.poll()
            for i in range(3 * ROOM):
                writer.send_bytes(block(i))
                # There is room, whatever was broken off.
                assert in_descriptor(reader) == 12, (broken_off, i)
                assert reader.recv_bytes() == block(i)
    finally:
        signal.signal(signal.SIGALRM, before)


def send_one(conn):
    conn.send_bytes(block(8))


def test_a_sender_is_killed_between_message_and_note(pipe):
    reader, writer = pipe
    for _ in range(2 * ROOM):
        small = fill(writer)
        child = procession.get_context("fork").Process(target=send_one, args=(writer,))
        child.start()
        while reader._lane.is_empty():
            time.sleep(0.001)
        child.kill()
        child.join()
        for _ in range(small):
            assert reader.recv_bytes() == b"full"
        assert not reader.poll()
        writer.send_bytes(block(9))
        assert in_descriptor(reader) == 12
        assert reader.recv_bytes() == block(9)


def test_notes_come_in_another_order(pipe):
    reader, writer = pipe
    for i in range(ROOM):
        writer.send_bytes(block(i))
    notes = [os.read(reader._handle, 12) for _ in range(ROOM)]
    os.write(writer._handle, b"".join(reversed(notes)))
    assert [reader.recv_bytes() for _ in range(ROOM)] == [block(i) for i in reversed(range(ROOM))]
    # Nobody has it any more.
    os.write(writer._handle, notes[0])
    with pytest.raises(OSError, match="take turns"):
        reader.recv_bytes()
    writer.send_bytes(b"and on")
    assert reader.recv_bytes() == b"and on"


def test_notes_that_never_come():
    reader, writer = procession.Pipe()
    before = _engine.resident_bytes()
    for _ in range(20):
        for i in range(ROOM - 1):
            writer.send_bytes(block(i))
            assert len(os.read(reader._handle, 12)) == 12
        writer.send_bytes(block(9))
        assert reader.recv_bytes() == block(9)
    assert _engine.resident_bytes() < before + 24 * MIB


def test_memory_goes_back():
    before = _engine.resident_bytes()
    for _ in range(20):
        reader, writer = procession.Pipe()
        for i in range(ROOM):
            writer.send_bytes(block(i))
        reader.recv_bytes()
        # Also where nobody has received it.
        reader.close()
        with pytest.raises(BrokenPipeError):
            writer.send_bytes(block(9))
        writer.close()
    assert _engine.resident_bytes() < before + 8 * MIB


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
assert after[0]._lane is None
for reader, writer in (before, after):
    sent = [bytes([i]) * size for i, size in enumerate([10, 1 << 20, 100_000, 10])]
    thread = threading.Thread(target=lambda: [writer.send_bytes(message) for message in sent])
    thread.start()
    assert [reader.recv_bytes() for _ in sent] == sent
    thread.join()
kept.clear()
for _ in range(count):
    queue.get()
reader, writer = procession.Pipe()
writer.send_bytes(bytes(1 << 20))
assert reader._lane and len(reader.recv_bytes()) == 1 << 20
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
        size = random.choice([100, 40_000, 100_000, 1_000_000])
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
            # The descriptor's own: a message that was larger than there was room for in the lane.
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

"""Objects arrive as pickle would have made them: with the same types, and shared where they were shared."""

import array
import collections
import copyreg
import dataclasses
import datetime
import decimal
import enum
import fractions
import math
import pickle
import random
import struct
import threading
import uuid
from typing import ClassVar

import pytest

import procession
from procession.reduction import ForkingPickler

pytestmark = pytest.mark.watchdog(120)


@dataclasses.dataclass
class Point:
    x: object
    y: object


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: object


class Colour(enum.Enum):
    RED = 1
    GREEN = "green"


class Flags(enum.IntFlag):
    A = 1
    B = 2


class Number(int):
    pass


class Text(str):
    pass


class Octets(bytes):
    pass


class Real(float):
    pass


class Mapping(dict):
    pass


class Sequence(list):
    pass


class Several(tuple):
    pass


Named = collections.namedtuple("Named", "first second")


class Plain:
    def __init__(self, **attributes):
        vars(self).update(attributes)


class Slots:
    __slots__ = ("__weakref__", "a")

    def __init__(self, a):
        self.a = a


class State:
    def __init__(self, value):
        self.value = value

    def __getstate__(self):
        return [self.value]

    def __setstate__(self, state):
        [self.value] = state


def same(a, b, pairs):
    """Returns whether two objects are equal in every detail. `pairs` maps each mutable object of `a` to its
    counterpart in `b`.
    """
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, dict, set, bytearray, Plain, Slots, State, Point)):
        if id(a) in pairs or id(b) in pairs.values():
            return pairs.get(id(a)) == id(b)
        pairs[id(a)] = id(b)
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, dict):
        keys = len(a) == len(b) and all(same(x, y, pairs) for x, y in zip(a, b, strict=True))
        contents = keys and all(same(x, y, pairs) for x, y in zip(a.values(), b.values(), strict=True))
    elif isinstance(a, (list, tuple)):
        contents = len(a) == len(b) and all(same(x, y, pairs) for x, y in zip(a, b, strict=True))
    elif isinstance(a, (set, frozenset)):
        a_sorted, b_sorted = (sorted(x, key=lambda item: (type(item).__name__, repr(item))) for x in (a, b))
        contents = len(a) == len(b) and all(
            same(x, y, pairs) for x, y in zip(a_sorted, b_sorted, strict=True)
        )
    elif isinstance(a, (Point, Frozen)):
        contents = all(same(getattr(a, f.name), getattr(b, f.name), pairs) for f in dataclasses.fields(a))
    elif isinstance(a, Slots):
        contents = same(a.a, b.a, pairs)
    elif isinstance(a, (Plain, State)):
        contents = True
    elif isinstance(a, enum.Enum):
        return a is b
    else:
        contents = a == b
    attributes = [getattr(x, "__dict__", None) for x in (a, b)]
    return contents and (type(attributes[0]) is not dict or same(*attributes, pairs))


INTEGERS = [
    0,
    1,
    -1,
    255,
    256,
    2**31 - 1,
    -(2**31),
    2**63 - 1,
    -(2**63),
    2**63,
    -(2**63) - 1,
    2**64,
    10**100,
    -(10**3000),
]
FLOATS = [
    0.0,
    -0.0,
    1.5,
    math.inf,
    -math.inf,
    math.nan,
    5e-324,
    struct.unpack("d", b"\x01\x00\x00\x00\x00\x00\xf8\x7f")[0],
]
STRINGS = ["", "a", "\0", "a\0b", "ä€😀", "\ud800", "x\udfffy", "\n" * 255, "s" * 256, "ß" * 128, "l" * 9000]
BYTES = [b"", b"\0", bytes(range(256)), b"b" * 255, b"b" * 257, b"B" * 9000]


class Generator:
    """Makes random objects, always the same for the same seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.made = []

    def hashable(self, depth):
        r = self.random
        kind = r.randrange(11)
        if kind == 0:
            return r.choice(INTEGERS) + r.randrange(-2, 3)
        if kind == 1:
            return r.random()
        if kind == 2:
            return r.choice(STRINGS)
        if kind == 3:
            return r.choice(BYTES)
        if kind == 4:
            return r.choice([True, False, None, Ellipsis, NotImplemented])
        if kind == 5:
            return r.choice(
                [
                    Colour.RED,
                    Colour.GREEN,
                    Flags.A | Flags.B,
                    Number(7),
                    Text("text"),
                    Octets(b"o"),
                    Real(2.5),
                ]
            )
        if kind == 6:
            return r.choice(
                [datetime.date(2020, 2, 29), decimal.Decimal("1.10"), fractions.Fraction(1, 3), 1 + 2j]
            )
        if kind == 7:
            return r.choice([len, int, Point, math.sin, uuid.UUID(int=r.getrandbits(128)), range(3, 9, 2)])
        if kind == 8 and depth:
            return frozenset(r.choice(INTEGERS) for _ in range(r.randrange(4)))
        if kind == 9 and depth:
            return tuple(self.hashable(depth - 1) for _ in range(r.randrange(4)))
        if kind == 10 and depth:
            return Named(self.hashable(depth - 1), 2)
        return r.randrange(1000)

    def any(self, depth):
        r = self.random
        if self.made and r.random() < 0.1:
            return r.choice(self.made)  # shared, or an object in itself
        kind = r.randrange(20) if depth else 0
        if kind < 5:
            return r.choice(FLOATS) if r.random() < 0.2 else self.hashable(depth)
        if kind < 8:
            return self.fill(r.choice([[], [], [], Sequence()]), depth)
        if kind < 11:
            made = r.choice([{}, {}, {}, Mapping(), collections.OrderedDict()])
            self.made.append(made)
            for _ in range(self.count()):
                made[self.hashable(depth - 1)] = self.any(depth - 1)
            return made
        if kind < 14:
            # Not kept for sharing: an object in itself by way of a tuple is a case of its own, below.
            return r.choice([tuple, tuple, Several])(self.any(depth - 1) for _ in range(self.count()))
        if kind == 14:
            return {self.random.choice(INTEGERS) for _ in range(r.randrange(5))}
        if kind == 15:
            return bytearray(r.choice(BYTES))
        made = r.choice([Plain(), Slots(None), State(None), Point(None, None)])
        self.made.append(made)
        if isinstance(made, Plain):
            made.some, made.other = self.any(depth - 1), self.any(depth - 1)
        elif isinstance(made, Slots):
            made.a = self.any(depth - 1)
        elif isinstance(made, State):
            made.value = self.any(depth - 1)
        else:
            made.x, made.y = self.any(depth - 1), Frozen(self.any(depth - 1))
        return made

    def count(self):
        return self.random.choice([0, 1, 2, 3, 5, 20 if self.random.random() < 0.1 else 4])

    def fill(self, made, depth):
        self.made.append(made)
        made.extend(self.any(depth - 1) for _ in range(self.count()))
        return made


def objects(seed, count):
    generator = Generator(seed)
    found = []
    while len(found) < count:
        generator.made.clear()
        try:
            found.append(generator.any(generator.random.randrange(6)))
        except RecursionError:
            pass
    return found


def check(obj, received):
    """Asserts that `received` is what pickle makes of `obj`."""
    expected = pickle.loads(pickle.dumps(obj, 5))
    assert same(expected, received, {}), f"{obj!r}\narrived as\n{received!r}"


@pytest.fixture(scope="module")
def channel():
    return procession.Queue(strict=True)  # type: ignore[call-arg]


def through(q, obj):
    q.put(obj)
    return q.get(timeout=10)


# That the comparison can tell


@pytest.mark.parametrize(
    "a, b",
    [
        (1, True), (1, 1.0), (0.0, -0.0), ("a", Text("a")), ([1], (1,)), ({1: 2, 3: 4}, {3: 4, 1: 2}), (b"", bytearray()),
        ({}, Mapping()), (Point(1, 2), Point(1, True)), ({1}, {True}), ([[], []], [[]] * 2), (Named(1, 2), (1, 2)),
    ],
)  # fmt: skip
def test_same_can_tell(a, b):
    assert same(a, pickle.loads(pickle.dumps(a)), {})
    assert not same(a, b, {}) and not same(b, a, {})


# One by one


@pytest.mark.smoke
@pytest.mark.parametrize(
    "kind, objects",
    [("int", INTEGERS), ("float", FLOATS), ("str", STRINGS), ("bytes", BYTES)],
    ids=lambda x: str(x)[:5],
)
def test_simple(channel, kind, objects):
    for obj in objects:
        check(obj, through(channel, obj))
        for container in ([obj], (obj, obj), {"key": obj}, {"a": [obj, (obj,)]}):
            check(container, through(channel, container))


@pytest.mark.parametrize("bits", range(80))
def test_integers_of_every_size(channel, bits):
    for obj in (2**bits - 1, 2**bits, 2**bits + 1, -(2**bits), -(2**bits) + 1, -(2**bits) - 1):
        assert through(channel, obj) == obj
    assert through(channel, [2**bits, -(2**bits)]) == [2**bits, -(2**bits)]


def test_lengths_around_the_limits(channel):
    for length in [*range(70), *range(250, 262), *range(8180, 8200), 65_535, 65_536, 65_537]:
        for obj in (
            "s" * length,
            "ä" * length,
            b"b" * length,
            bytearray(length),
            [0] * length,
            (None,) * length,
        ):
            check(obj, through(channel, obj))
            check([obj], through(channel, [obj]))
    for length in range(250, 262):
        check(
            {"k" * length: {"v" * length: [b"x" * length]}},
            through(channel, {"k" * length: {"v" * length: [b"x" * length]}}),
        )


def test_deep(channel):
    nested = None
    for _ in range(100):
        nested = {"next": [nested, (nested,)]} if nested is None else {"next": [(nested,)]}
    check(nested, through(channel, nested))


# Identity


@pytest.mark.smoke
def test_shared(channel):
    inner = [1]
    outer = through(channel, [inner, inner, {"a": inner}, (inner,)])
    assert outer[0] is outer[1] is outer[2]["a"] is outer[3][0]
    for shared in ({}, set(), bytearray(b"x"), Plain(), [[]], {"a": {}}):
        a, b = through(channel, (shared, shared))
        assert a is b
    pair = through(channel, [[[]]] * 2)
    assert pair[0] is pair[1]
    a, b = through(channel, [[], []])
    assert a is not b


def test_recursive(channel):
    a = []
    a.append(a)
    received = through(channel, a)
    assert received[0] is received
    b = {}
    b["me"] = b
    received = through(channel, b)
    assert received["me"] is received
    c = ([],)
    c[0].append(c)
    received = through(channel, c)
    assert type(received) is tuple and received[0][0] is received
    d = Plain()
    d.me = {"list": [d]}
    received = through(channel, d)
    assert received.me["list"][0] is received


def test_many_equal_objects_are_not_one(channel):
    received = through(channel, [[] for _ in range(60)])
    assert len({id(item) for item in received}) == 60


# At random


@pytest.mark.parametrize("seed", range(20))
def test_generated(channel, seed):
    for obj in objects(seed, 150):
        check(obj, through(channel, obj))


@pytest.mark.parametrize("seed", range(100, 104))
def test_generated_by_other_ways(seed):
    generated = objects(seed, 100)
    simple, many = procession.SimpleQueue(), procession.Queue()
    for obj in generated:
        simple.put(obj)
    for obj in generated:
        check(obj, simple.get())
    assert many.put_many(generated) == len(generated)
    received = []
    while len(received) < len(generated):
        received += many.get_many(13, timeout=10)
    for obj, arrived in zip(generated, received, strict=True):
        check(obj, arrived)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_generated_in_another_process(run_script, method):
    run_script(
        f"""
        import sys
        import procession
        sys.path.insert(0, {__file__.rpartition("/")[0]!r})
        import test_objects
        def child(there, back):
            for obj in test_objects.objects(7, 300):
                test_objects.check(obj, there.get())
                back.put(obj)
        if __name__ == "__main__":
            ctx = procession.get_context({method!r})
            there, back = ctx.Queue(), ctx.SimpleQueue()
            p = ctx.Process(target=child, args=(there, back))
            p.start()
            for obj in test_objects.objects(7, 300):
                there.put(obj)
                test_objects.check(obj, back.get())
            p.join()
            assert p.exitcode == 0
        """
    ).check()


# Reducers


class Registered:
    def __init__(self, text):
        self.text = text

    def __eq__(self, other):
        return type(other) is type(self) and self.text == other.text


class WithCopyreg(Registered):
    pass


class WithForkingPickler(Registered):
    pass


class WithBoth(Registered):
    pass


def make(cls, text):
    return cls(text)


def reducer(mark):
    return lambda obj: (make, (type(obj), obj.text + mark))


@pytest.fixture
def registered():
    yield
    copyreg.dispatch_table.pop(WithCopyreg, None)
    copyreg.dispatch_table.pop(WithBoth, None)
    for cls in (WithForkingPickler, WithBoth):
        ForkingPickler._extra_reducers.pop(cls, None)


@pytest.mark.smoke
def test_registered_after_the_first_put(channel, registered):
    everything = [cls("x") for cls in (WithCopyreg, WithForkingPickler, WithBoth)]
    assert [obj.text for obj in through(channel, everything)] == ["x", "x", "x"]
    copyreg.pickle(WithCopyreg, reducer(" by copyreg"))
    copyreg.pickle(WithBoth, reducer(" by copyreg"))
    assert [obj.text for obj in through(channel, everything)] == ["x by copyreg", "x", "x by copyreg"]
    ForkingPickler.register(WithForkingPickler, reducer(" by us"))
    ForkingPickler.register(WithBoth, reducer(" by us"))
    assert [obj.text for obj in through(channel, everything)] == ["x by copyreg", "x by us", "x by us"]
    # The standard library does the same.
    assert [obj.text for obj in pickle.loads(ForkingPickler.dumps(everything))] == [
        "x by copyreg",
        "x by us",
        "x by us",
    ]
    del ForkingPickler._extra_reducers[WithBoth]
    assert through(channel, WithBoth("x")).text == "x by copyreg"


def test_registered_in_another_thread(channel, registered):
    seen = []
    ready, go = threading.Event(), threading.Event()

    def other():
        q = procession.Queue()
        through(q, Plain())
        ready.set()
        go.wait(30)
        seen.append(through(q, WithForkingPickler("x")).text)

    thread = threading.Thread(target=other)
    thread.start()
    ready.wait(30)
    ForkingPickler.register(WithForkingPickler, reducer("!"))
    go.set()
    thread.join()
    assert seen == ["x!"]


class Meta(type):
    pass


class OfMeta(metaclass=Meta):
    pass


def test_reducer_of_a_metaclass(channel):
    copyreg.pickle(Meta, lambda cls: (make_class, (cls.__name__,)))
    try:
        assert through(channel, [OfMeta]) == [Plain]
    finally:
        del copyreg.dispatch_table[Meta]


def make_class(name):
    assert name == "OfMeta"
    return Plain


def test_what_pickles_specially(channel):
    ours, theirs = procession.Pipe()  # reduced by multiprocessing's own reducers
    with pytest.raises(TypeError):
        through(channel, threading.Lock())
    assert through(channel, [].append) is not None
    assert through(channel, Plain.__init__) is Plain.__init__
    received = through(channel, theirs)
    received.send(1)
    assert ours.recv() == 1


class Ex:
    """Its `__reduce_ex__` must be called with protocol 5; large buffers travel beside the pickle."""

    asked: ClassVar[list] = []

    def __init__(self, data):
        self.data = data

    def __reduce_ex__(self, protocol):
        self.asked.append(protocol)
        return Ex, (pickle.PickleBuffer(self.data),)


@pytest.mark.parametrize("size", [0, 10, 4095, 4096, 5000, 1_000_000])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_out_of_band(channel, size, kind):
    Ex.asked.clear()
    received = through(channel, [Ex((kind(range(256)) * 4000)[:size])])
    assert Ex.asked == [5]
    assert bytes(received[0].data) == (bytes(range(256)) * 4000)[:size]


def test_several_buffers_and_what_is_shared_between(channel):
    data = bytearray(b"x" * 10_000)
    a, b, c = through(channel, (Ex(data), Ex(b"y" * 10_001), Ex(b"z")))
    assert bytes(a.data) == b"x" * 10_000 and bytes(b.data) == b"y" * 10_001 and bytes(c.data) == b"z"
    data[:] = bytes(10_000)
    assert bytes(a.data) == b"x" * 10_000


class Inner:
    """Puts into another queue while it is being pickled."""

    def __init__(self, q):
        self.q = q

    def __reduce__(self):
        self.q.put(Point([1], "inner"))
        self.q.put(b"x" * 100_000)
        return Plain, ()


def test_puts_while_it_is_pickled(channel):
    other = procession.Queue()
    copies = [Point(i, [Inner(other)]) for i in range(5)]
    received = through(channel, copies)
    assert [item.x for item in received] == list(range(5))
    for _ in range(5):
        assert other.get() == Point([1], "inner")
        assert other.get() == b"x" * 100_000
    assert other.empty()
    # Into the same queue: before itself.
    channel.put(Inner(channel))
    assert channel.get() == Point([1], "inner") and channel.get() == b"x" * 100_000
    assert type(channel.get()) is Plain


class Getting:
    def __init__(self, q):
        self.q = q

    def __reduce__(self):
        return take_from, (self.q,)


def take_from(q):
    return q.get(timeout=10)


def test_takes_while_it_is_unpickled(channel):
    other = procession.Queue()
    other.put(Point(1, procession.Lock()))
    channel.put([Getting(other), procession.Semaphore(3)])
    point, semaphore = channel.get()
    assert point.x == 1 and point.y.acquire(False) and semaphore.get_value() == 3


def test_fails_while_it_is_pickled_and_goes_on(channel):
    class Bad:
        def __reduce__(self):
            raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            channel.put([Point(1, 2), "x" * 100_000, Bad()])
        check([Point(1, 2)], through(channel, [Point(1, 2)]))
    assert channel.empty()


def test_standard_types(channel):
    for obj in (
        array.array("d", [1.0, 2.0]), array.array("i", range(10_000)), collections.deque([1], maxlen=3), ValueError("x", 2),
        collections.Counter("aab"), collections.defaultdict(list, a=[1]), datetime.datetime.now(datetime.UTC),
    ):  # fmt: skip
        received = through(channel, obj)
        assert type(received) is type(obj)
        assert received == obj or (received.args == obj.args)


# NumPy


def arrays(numpy):
    base = numpy.arange(120_000, dtype="f8").reshape(300, 400)
    structured = numpy.zeros(1000, dtype=[("a", "i4"), ("b", "f8")])
    structured["a"] = numpy.arange(1000)
    return {
        "contiguous": base,
        "fortran": numpy.asfortranarray(base),
        "transposed": base.T,
        "strided": base[::3, ::2],
        "reversed": base[::-1],
        "broadcast": numpy.broadcast_to(base[0], (300, 400)),
        "empty": base[:0],
        "scalar": numpy.array(3.0),
        "big endian": base.astype(">f8"),
        "structured": structured,
        "text": numpy.array(["a", "bcd"] * 3000),
        "objects": numpy.array([1, "a", None] * 3000, dtype=object),
        "dates": numpy.arange("2000-01-01", "2020-01-01", dtype="M8[D]"),
    }


@pytest.mark.parametrize("zero_copy", [False, True])
def test_arrays(zero_copy):
    numpy = pytest.importorskip("numpy")
    q = procession.Queue(zero_copy=zero_copy)  # type: ignore[call-arg]
    for name, obj in arrays(numpy).items():
        received = through(q, obj)
        expected = pickle.loads(pickle.dumps(obj, 5))
        assert type(received) is type(expected) and received.dtype == expected.dtype, name
        assert received.shape == expected.shape and received.strides == expected.strides, name
        assert received.flags.writeable == expected.flags.writeable, name
        numpy.testing.assert_array_equal(received, obj)


@pytest.mark.parametrize("zero_copy", [False, True])
@pytest.mark.parametrize("size", [10, 100_000])
def test_read_only_arrays_stay_read_only(zero_copy, size):
    """The same as with pickle and out-of-band buffers; with in-band buffers pickle makes arrays writable."""
    numpy = pytest.importorskip("numpy")
    q = procession.Queue(zero_copy=zero_copy)  # type: ignore[call-arg]
    obj = numpy.arange(size)
    obj.flags.writeable = False
    buffers = []
    pickled = pickle.dumps(obj, 5, buffer_callback=buffers.append)
    expected = pickle.loads(
        pickled, buffers=[bytes(b) if b.raw().readonly else bytearray(b) for b in buffers]
    )
    assert through(q, obj).flags.writeable == expected.flags.writeable
    obj.flags.writeable = True
    assert through(q, obj).flags.writeable


def test_shared_arrays(channel):
    numpy = pytest.importorskip("numpy")
    array = numpy.zeros(10_000)
    a, b = through(channel, [array, array])
    assert a is b

"""Values and arrays: every test also runs on the standard library's, and the results must be equal."""

import ctypes
import gc
import inspect
import math
import multiprocessing
import multiprocessing.sharedctypes
import pickle
import textwrap
import threading
import weakref

import pytest

import procession
from procession import sharedctypes

METHODS = ["fork", "spawn", "forkserver"]
pytestmark = pytest.mark.watchdog(120)

BOTH = (multiprocessing, procession)
CODES = "cubBhHiIlLqQfd"
TYPES = [
    *CODES,
    ctypes.c_bool,
    ctypes.c_size_t,
    ctypes.c_void_p,
    ctypes.c_longdouble,
    ctypes.c_int.__ctype_be__,
]


class Odd:
    """An object with its own conversions to numbers."""

    def __index__(self):
        return 3

    def __float__(self):
        return 2.5


class MyInt(int):
    pass


class MyFloat(float):
    pass


THINGS = [
    *(0, 1, -1, 127, 128, -129, 2**15, 2**31, -(2**31) - 1, 2**40 + 7, 2**63, 2**64 + 5, -(2**70), 10**400),
    *(0.0, -0.5, 1.5, 3.4e38, 1e39, -1e39, math.inf, 1e-320),
    *(True, False, None, "a", "ab", b"a", b"ab", b"", (), [1], 1j, Odd(), MyInt(7), MyFloat(0.25), object),
]


def outcome(function, *args, **options):
    """Returns the result of a call, or the type and the text of its exception."""
    try:
        return "answered", function(*args, **options)
    except Exception as error:
        return type(error), str(error)


def same(standard, ours):
    """Asserts that two outcomes are equal, except for addresses and the modules of types."""
    texts = [
        repr(each).replace("multiprocessing", "procession").split(" object at ")[0]
        for each in (standard, ours)
    ]
    assert texts[0] == texts[1]


def alike(function, *args):
    """Asserts that `function(module, *args)` has the same outcome for both modules."""
    same(*(outcome(function, module, *args) for module in BOTH))


@pytest.mark.smoke
def test_value():
    value = procession.Value("i", 5)
    assert value.value == 5
    value.value += 2**40
    assert value.value == 5
    assert value.get_obj().value == 5 and isinstance(value.get_obj(), ctypes.c_int)
    value.get_obj().value = 9
    assert value.value == 9
    with value.get_lock():
        value.value += 1
    assert repr(value) == "<Synchronized wrapper for c_int(10)>"
    assert value.get_obj() is value.get_obj()


@pytest.mark.parametrize("type_", TYPES)
def test_values_take_and_give_what_the_standard_librarys_do(type_):
    def set_and_get(module, thing, lock):
        value = module.Value(type_, lock=lock)
        before = value.value
        answer = outcome(setattr, value, "value", thing)
        return before, answer, value.value, type(value.value)

    def initial(module, *args):
        value = module.Value(type_, *args)
        return value.value, type(value.value), repr(value)

    for thing in THINGS:
        for lock in (True, False):
            alike(set_and_get, thing, lock)
        alike(initial, thing)
    alike(initial)
    alike(initial, 1, 2)


@pytest.mark.parametrize("type_", TYPES)
def test_arrays_take_and_give_what_the_standard_librarys_do(type_):
    keys = [0, 2, -1, -3, 3, -4, 10**30, True, Odd(), 0.0, "a", None, slice(0, 2), slice(None, None, -1)]

    def element(module, key, thing):
        array = module.Array(type_, 3)
        answers = outcome(lambda: array[key]), outcome(array.__setitem__, key, thing)
        return *answers, array[:], [*array], len(array), type(array[0])

    for key in keys:
        alike(element, key, 1)
    for thing in [*THINGS, b"abc", [1, 2]]:
        alike(element, 1, thing)
        alike(element, slice(0, 2), thing)


def test_arrays_are_made_of_what_the_standard_librarys_are():
    def made(module, *args, **options):
        array = module.Array(*args, **options)
        return type(array).__name__, len(array), array[:]

    for args in (
        *(("i", 0), ("i", 5), ("i", range(4)), ("i", [1, "a"]), ("i", [2**40]), ("d", (1, 2.5)), ("i", -1)),
        *(
            ("c", b"hello"),
            ("c", 3),
            ("u", "hello"),
            ("x", 3),
            ("i", None),
            (int, 3),
            (ctypes.c_byte * 2, 2),
            ("i",),
        ),
    ):
        alike(lambda module, args: module.RawArray(*args)[:], args)
        for lock in (True, False, None):
            alike(lambda module, args, lock: module.Array(*args, lock=lock)[:], args, lock)
        alike(lambda module, args: made(module, *args), args)


def test_strings():
    def string(module):
        text = module.Array("c", b"hello")
        seen = [text.value, text.raw, text[1], text[:2], len(text)]
        text.value = b"bun"
        seen += [text.value, text.raw]
        text.raw = b"abcde"
        seen += [text.value, outcome(setattr, text, "value", b"too long"), type(text).__name__]
        return seen, isinstance(text, module.sharedctypes.SynchronizedArray)

    alike(string)


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_double)]


def test_structures():
    def structure(module):
        point = module.Value(Point, 1, 2.5)
        point.x += 2**33 + 1
        copied = module.sharedctypes.copy(point.get_obj())
        point.y = 0
        points = module.Array(Point, [(1, 2), (3, 4)])
        points[1].x = 7
        return [point.x, point.y, copied.x, copied.y, points[1].x, type(point).__name__, point.get_obj().x]

    alike(structure)


def test_locks():
    def lock(module, lock):
        given = lock(module)
        value = module.Value("i", 1, lock=given)
        array = module.Array("i", 1, lock=given)
        return [
            value.get_lock() is given,
            array.get_lock() is given,
            value.value,
            array[0],
            value.acquire(),
            value.release(),
            value.__enter__(),
            value.__exit__(None, None, None),
        ]

    alike(lock, lambda module: module.Lock())
    alike(lock, lambda module: module.RLock())
    alike(lock, lambda module: module.Semaphore(2))
    alike(lock, lambda module: threading.RLock())
    for wrong in (7, object(), "lock", [], 0):
        for make in ("Value", "Array"):
            same(*(outcome(getattr(module, make), "i", 1, lock=wrong) for module in BOTH))
    assert not hasattr(procession.Value("i", lock=False), "get_lock")
    assert not hasattr(procession.Array("i", 1, lock=False), "get_obj")


class Counting:
    """A lock that counts its uses."""

    def __init__(self):
        self.acquired = self.released = 0

    def acquire(self):
        self.acquired += 1

    def release(self):
        self.released += 1


class Watched(procession.synchronize.RLock):
    """A lock of the package with another attribute."""

    def __init__(self):
        super().__init__(ctx=procession.get_context())
        self.acquired = self.released = 0

    def acquire(self, *args):
        self.acquired += 1
        return super().acquire(*args)

    def release(self):
        self.released += 1
        super().release()


@pytest.mark.parametrize("make", [Counting, Watched])
def test_a_lock_with_something_more_to_it_is_asked_each_time(make):
    lock = make()
    value = procession.Value("i", 1, lock=lock)
    array = procession.Array("i", 3, lock=lock)
    value.value = array[1] + value.value
    array[0] = 1
    assert len(array) == 3
    assert (lock.acquired, lock.released) == (4, 4)
    # Also if something goes wrong.
    for wrong in (lambda: array[5], lambda: array.__setitem__(0, "a"), lambda: setattr(value, "value", None)):
        with pytest.raises((IndexError, TypeError)):
            wrong()
    assert lock.acquired == lock.released >= 4


def test_the_lock_is_needed_and_let_go():
    value, array = procession.Value("i", 1), procession.Array("i", 3)

    def in_vain(work):
        done = threading.Event()

        def run():
            work()
            done.set()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        assert not done.wait(0.05)
        return thread

    for thing, works in (
        (value, [lambda: value.value, lambda: setattr(value, "value", 2)]),
        (array, [lambda: array[0], lambda: array.__setitem__(0, 1), lambda: array[:]]),
    ):
        for work in works:
            with thing:
                work()  # the thread that has it may
                thread = in_vain(work)
            thread.join()
        assert repr(thing.get_lock()) == "<RLock(None, 0)>"
        with pytest.raises(TypeError):
            array[0] = "a"
        assert thing.get_lock().acquire(False)
        thing.get_lock().release()


def test_ctypes_objects_of_ones_own():
    def synchronized(module, obj):
        value = module.sharedctypes.synchronized(obj)
        return [
            value.get_obj() is obj,
            type(value).__name__,
            outcome(module.sharedctypes.synchronized, value)[0],
        ]

    class MyType(ctypes.c_int):
        @property
        def value(self):
            return "mine"

    for obj in (
        ctypes.c_int(5),
        (ctypes.c_int * 3)(),
        MyType(5),
        Point(),
        ctypes.create_string_buffer(b"hello"),
    ):
        alike(synchronized, obj)
    assert sharedctypes.synchronized(MyType(5)).value == "mine"
    value = sharedctypes.synchronized(ctypes.c_int(5))
    value.value += 1
    assert value.get_obj().value == 6
    raw = procession.RawValue("i", 5)
    value = sharedctypes.synchronized(raw)
    value.value += 1
    assert raw.value == 6


def test_classes():
    value, array, text = procession.Value("i"), procession.Array("i", 2), procession.Array("c", 2)
    assert isinstance(value, sharedctypes.Synchronized)
    assert isinstance(array, sharedctypes.SynchronizedArray)
    assert isinstance(text, sharedctypes.SynchronizedString) and isinstance(
        text, sharedctypes.SynchronizedArray
    )
    for thing in (value, array, text, procession.Value(Point)):
        assert isinstance(thing, sharedctypes.SynchronizedBase)
        assert type(thing).__module__ == "procession.sharedctypes"
    for name in multiprocessing.sharedctypes.__all__:
        ours, standard = getattr(sharedctypes, name), getattr(multiprocessing.sharedctypes, name)
        assert inspect.signature(ours) == inspect.signature(standard)
    with pytest.raises(AttributeError):
        del value.value
    value.note = "attributes can be set"


def test_numpy_without_a_copy():
    numpy = pytest.importorskip("numpy")
    array = procession.Array("d", 1000)
    view = numpy.frombuffer(array.get_obj())
    view[3] = 1.5
    assert array[3] == 1.5 and view.flags.writeable and view.size == 1000
    # The memory stays as long as the view.
    del array
    gc.collect()
    others = [procession.RawArray("d", [7.0] * 1000) for _ in range(10)]
    assert view[3] == 1.5 and view.sum() == 1.5 and len(others) == 10


def test_memory_is_zero_and_goes_back():
    for size in (1, 100, 3_000, 1_000_000):
        for _ in range(5):
            array = procession.RawArray("d", size)
            assert not any(array)
            array[:] = [1.5] * size
    before = procession._engine.resident_bytes()
    for _ in range(100):
        procession.RawArray("b", 10_000_000)
    assert procession._engine.resident_bytes() <= before + 24_000_000


def test_they_are_collected():
    value = procession.Value("i")
    value.get_obj().back = value
    value.back = value
    gone = weakref.ref(value)
    del value
    gc.collect()
    assert gone() is None


def test_outside_of_a_start_they_are_not_pickled():
    def pickled(module, make):
        return outcome(pickle.dumps, make(module))

    alike(pickled, lambda module: module.Value("i"))
    alike(pickled, lambda module: module.Array("i", 1))
    alike(pickled, lambda module: module.Value(Point))

    def reduced(module, make):
        return outcome(module.reduction.ForkingPickler.dumps, make(module))[0]

    # Through a pipe ours may go.
    assert reduced(procession, lambda module: module.RawValue("i")) == "answered"


PROLOGUE = """\
import ctypes, os, signal, sys, time, warnings
import procession
ctx = procession.get_context(sys.argv[1])

class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_double)]

def start(target, *args):
    p = ctx.Process(target=target, args=args)
    p.start()
    return p

def everything():
    return [ctx.Value("i", 1), ctx.Value(ctypes.c_double, 2.5, lock=ctx.Lock()), ctx.Value(Point, 3, 4),
            ctx.Array("q", range(3)), ctx.Array("b", 100_000), ctx.Array("c", b"hello"),
            ctx.RawValue("f", 0.5), ctx.RawArray("H", 4), ctx.RawValue(Point, 5, 6)]

def change(things):
    value, other, point, array, large, text, raw, raws, raw_point = things
    with value.get_lock():
        value.value += 1
    other.value *= 2
    point.x = 30
    array[1] = 10
    large[99_999] = 7
    text.value = b"bun"
    raw.value = 1.5
    raws[3] = 9
    raw_point.y = 60

def check(things):
    value, other, point, array, large, text, raw, raws, raw_point = things
    assert (value.value, other.value, point.x, array[:]) == (2, 5, 30, [0, 10, 2])
    assert (large[99_999], text.value, raw.value, raws[:]) == (7, b"bun", 1.5, [0, 0, 0, 9])
    assert (raw_point.x, raw_point.y) == (5, 60)
"""


@pytest.fixture
def run(run_script):
    """Returns a function that runs a program with a start method as `ctx`, and asserts that it succeeds."""

    def run(method, text, **options):
        result = run_script(PROLOGUE + textwrap.dedent(text), method, **options)
        result.check()
        return result

    return run


@pytest.mark.parametrize("method", METHODS)
def test_children_share_them(run, method):
    run(
        method,
        """
        def send(queue):
            queue.put(made := everything())
            queue.get()  # they are kept until they were changed

        def through(there, back):
            change(there.get())
            back.put(True)

        if __name__ == "__main__":
            files = len(os.listdir("/proc/self/fd"))
            things = everything()
            assert len(os.listdir("/proc/self/fd")) <= files + 2, "the program's memory has one descriptor"
            p = start(change, things)
            p.join()
            assert p.exitcode == 0
            check(things)

            # Through a queue, there and back.
            things, there, back = everything(), ctx.Queue(), ctx.Queue()
            p = start(through, there, back)
            there.put(things)
            assert back.get()
            check(things)
            p.join()
            kept = everything()
            there.put(kept)
            del kept
            late = there.get()
            change(late)
            check(late)

            # Through a pipe, kept by the sender.
            ours, theirs = ctx.Pipe()
            things = everything()
            ours.send(things)
            same = theirs.recv()
            change(same)
            check(things)
        """,
    )


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_lost(run, method):
    run(
        method,
        """
        def work(value, array):
            for n in range(2000):
                with value.get_lock():
                    value.value += 1
                with array:
                    array[n % 3] += 1

        if __name__ == "__main__":
            value, array = ctx.Value("q", 0), ctx.Array("i", 3)
            for p in [start(work, value, array) for _ in range(3)]:
                p.join()
                assert p.exitcode == 0
            assert value.value == 6000 and sum(array) == 6000
        """,
    )


def test_the_death_of_who_had_it_is_told_once(run):
    run(
        "fork",
        """
        from procession.synchronize import OwnerDiedWarning

        def die(value):
            value.acquire()
            value.value = 5
            os.kill(os.getpid(), signal.SIGKILL)

        if __name__ == "__main__":
            for work in (lambda v: v.value, lambda v: setattr(v, "value", 6)):
                value = ctx.Value("i", 1)
                start(die, value).join()
                with warnings.catch_warnings(record=True) as seen:
                    warnings.simplefilter("always")
                    work(value)
                    assert value.value in (5, 6)
                    assert [w.category for w in seen] == [OwnerDiedWarning], seen
                assert value.get_lock().acquire(False)
        """,
    )


def test_a_program_for_the_standard_library_gets_them(run_script):
    result = run_script(
        """
        from multiprocessing import Array, Process, Value, sharedctypes
        def add(value, array):
            value.value += 1
            array[0] += 1
        if __name__ == "__main__":
            value, array = Value("i", 1), Array("d", 2)
            p = Process(target=add, args=(value, array))
            p.start()
            p.join()
            print(value.value, array[:], type(value).__mro__[2].__module__)
            assert isinstance(value, sharedctypes.Synchronized)
        """,
        module="procession",
    )
    assert result.stdout == "2 [1.0, 0.0] procession._engine\n"
    result.check()

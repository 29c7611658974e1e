"""Values and arrays in the program's shared memory.

`RawValue` and `RawArray` are ctypes objects, as in the standard library. A `Value` that is a number is read and written
without ctypes. Its ctypes object is made when it is first asked for (`get_obj`).
"""

from ._standard import adopt

adopt(__name__, globals())

from . import _engine  # noqa: E402
from ._travel import handle_ref_of, is_travelling  # noqa: E402
from .synchronize import Lock as _Lock, RLock as _RLock  # noqa: E402

_Value, _Synchronized, _SynchronizedArray = Value, Synchronized, SynchronizedArray  # noqa: F821

# The types whose numbers the engine reads and writes.
_CODES = {type_: code for code, type_ in typecode_to_type.items() if code not in "cu"}  # noqa: F821
_CODES[ctypes.c_bool] = "?"  # noqa: F821


class _Memory(_engine.Region):
    """Memory of the program's heap, instead of the standard library's `heap.BufferWrapper`."""

    # It may be sent to a process of any context.
    _is_fork_ctx = False

    def create_memoryview(self):
        """Return a view of the memory."""
        return memoryview(self)

    def __reduce__(self):
        return _resolved, (handle_ref_of(self),)


def _memory_of(size):
    memory = _Memory()
    memory._make(size)
    return memory


def _resolved(handle_ref):
    memory = _Memory()
    memory._resolve(handle_ref)
    return memory


def _new_value(type_):
    return rebuild_ctype(type_, _memory_of(ctypes.sizeof(type_)), None)  # noqa: F821


def reduce_ctype(obj):
    if not is_travelling():
        assert_spawning(obj)  # noqa: F821
    if isinstance(obj, ctypes.Array):  # noqa: F821
        return rebuild_ctype, (obj._type_, obj._wrapper, obj._length_)  # noqa: F821
    return rebuild_ctype, (type(obj), obj._wrapper, None)  # noqa: F821


def Value(typecode_or_type, *args, lock=True, ctx=None):
    """
    Return a synchronization wrapper for a Value
    """
    type_ = typecode_to_type.get(typecode_or_type, typecode_or_type)  # noqa: F821
    code = _CODES.get(type_)
    if code is None or lock is False:
        return _Value(typecode_or_type, *args, lock=lock, ctx=ctx)
    memory = _memory_of(ctypes.sizeof(type_))  # noqa: F821
    if args and not (len(args) == 1 and memory._store(code, args[0])):
        rebuild_ctype(type_, memory, None).__init__(*args)  # noqa: F821
    if lock in (True, None):
        lock = (ctx or get_context()).RLock()  # noqa: F821
    if not hasattr(lock, "acquire"):
        raise AttributeError(f"{lock!r} has no method 'acquire'")
    return _value_in(memory, type_, lock)


def _value_in(memory, type_, lock):
    """Return the `Value` of a number in `memory`, without a ctypes object."""
    value = Synchronized.__new__(Synchronized)
    value._guard(lock, (memory, _CODES[type_], 1), type_, None)
    return value


def _numbers_of(obj, type_, count):
    """Return memory, type and count of the numbers of `obj`, None if the engine cannot read and write them."""
    code, memory = _CODES.get(type_), getattr(obj, "_wrapper", None)
    if code and type(memory) is _Memory and memory._address() == ctypes.addressof(obj):  # noqa: F821
        return memory, code, count
    return None


class _EngineSynchronized:
    """The common part of the classes that are the engine's and the standard library's."""

    def _guard(self, lock, numbers, type_, obj):
        self._begin(lock, type(lock) in (_RLock, _Lock), numbers, type_, obj)
        self._lock = lock
        self.acquire = lock.acquire
        self.release = lock.release

    def _begin_with(self, obj, lock, ctx, numbers):
        if not lock:
            lock = (ctx or get_context(force=True)).RLock()  # noqa: F821
        self._guard(lock, numbers, type(obj), obj)


class Synchronized(_EngineSynchronized, _engine.Synchronized, _Synchronized):
    def __init__(self, obj, lock=None, ctx=None):
        self._begin_with(obj, lock, ctx, _numbers_of(obj, type(obj), 1))

    def __reduce__(self):
        numbers = self._numbers
        if numbers is None:
            return super().__reduce__()
        if not is_travelling():
            assert_spawning(self)  # noqa: F821
        return _value_in, (*numbers, self._lock)


class SynchronizedArray(_EngineSynchronized, _engine.SynchronizedArray, _SynchronizedArray):
    def __init__(self, obj, lock=None, ctx=None):
        type_, count = obj._type_, obj._length_
        # A subclass may override how elements are read and written.
        plain = type(obj) is type_ * count
        self._begin_with(obj, lock, ctx, _numbers_of(obj, type_, count) if plain else None)


class SynchronizedString(SynchronizedArray):
    value = make_property("value")  # noqa: F821
    raw = make_property("raw")  # noqa: F821


def _reduce(self):
    if not is_travelling():
        assert_spawning(self)  # noqa: F821
    return synchronized, (self._obj, self._lock)  # noqa: F821


SynchronizedBase.__reduce__ = _reduce  # noqa: F821

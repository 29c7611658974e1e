from collections.abc import Iterable
from multiprocessing.connection import (
    Client as Client,
    Connection as Connection,
    Listener as _StandardListener,
    Pipe as Pipe,
    answer_challenge as answer_challenge,
    deliver_challenge as deliver_challenge,
)
from typing import Any, TypeAlias, TypeVar, overload

from _typeshed import HasFileno

from . import _engine

__all__ = ["Client", "Listener", "Pipe", "wait"]

class Listener(_StandardListener):
    handshake_timeout: float | None

# An object with a descriptor, a queue or one of its ends, or an event.
_Thing: TypeAlias = HasFileno | int | _engine.Queue[Any] | _engine.Event
_Waitable = TypeVar("_Waitable", bound=_Thing)

@overload
def wait(object_list: Iterable[_Waitable], timeout: float | None = None) -> list[_Waitable]: ...

# For lists of different things, whose join is `object`.
@overload
def wait(  # type: ignore[overload-cannot-match]
    object_list: Iterable[_Thing], timeout: float | None = None
) -> list[_Thing]: ...

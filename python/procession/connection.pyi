from _typeshed import HasFileno
from collections.abc import Iterable
from multiprocessing.connection import (
    Client as Client,
    Connection as Connection,
    Listener as _StandardListener,
    Pipe as Pipe,
    answer_challenge as answer_challenge,
    deliver_challenge as deliver_challenge,
)
from typing import TypeVar, overload

__all__ = ["Client", "Listener", "Pipe", "wait"]

class Listener(_StandardListener):
    handshake_timeout: float | None

_Waitable = TypeVar("_Waitable", bound=HasFileno | int)

@overload
def wait(object_list: Iterable[_Waitable], timeout: float | None = None) -> list[_Waitable]: ...
# For lists of different things, whose join is `object`.
@overload
def wait(  # type: ignore[overload-cannot-match]
    object_list: Iterable[HasFileno | int], timeout: float | None = None
) -> list[HasFileno | int]: ...

import multiprocessing.shared_memory as _standard
import sys
from multiprocessing.shared_memory import ShareableList as ShareableList

__all__ = ["SharedMemory", "ShareableList"]

class SharedMemory(_standard.SharedMemory):
    if sys.version_info >= (3, 13):
        def __init__(
            self, name: str | None = None, create: bool = False, size: int = 0, *, track: bool | None = None
        ) -> None: ...
    else:
        def __init__(self, name: str | None = None, create: bool = False, size: int = 0) -> None: ...

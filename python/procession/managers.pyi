import sys
from multiprocessing.managers import (
    BaseListProxy as BaseListProxy,
    BaseManager as BaseManager,
    BaseProxy as BaseProxy,
    DictProxy as DictProxy,
    ListProxy as ListProxy,
    Namespace as Namespace,
    RemoteError as RemoteError,
    Server as Server,
    SharedMemoryManager as SharedMemoryManager,
    SharedMemoryServer as SharedMemoryServer,
    SyncManager as SyncManager,
    Token as Token,
    ValueProxy as ValueProxy,
)

__all__ = ["BaseManager", "SyncManager", "BaseProxy", "Token", "SharedMemoryManager"]

if sys.version_info >= (3, 14):
    from multiprocessing.managers import SetProxy as SetProxy

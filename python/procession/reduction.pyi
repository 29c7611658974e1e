import sys
from multiprocessing.reduction import (
    HAVE_SEND_HANDLE as HAVE_SEND_HANDLE,
    AbstractReducer as AbstractReducer,
    DupFd as DupFd,
    ForkingPickler as ForkingPickler,
    dump as dump,
    recv_handle as recv_handle,
    recvfds as recvfds,
    register as register,
    send_handle as send_handle,
    sendfds as sendfds,
)

__all__ = ["send_handle", "recv_handle", "ForkingPickler", "register", "dump", "DupFd", "sendfds", "recvfds"]

if sys.version_info < (3, 14):
    from multiprocessing.reduction import ACKNOWLEDGE as ACKNOWLEDGE

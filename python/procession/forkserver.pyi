from multiprocessing.forkserver import (
    MAXFDS_TO_SEND as MAXFDS_TO_SEND,
    SIGNED_STRUCT as SIGNED_STRUCT,
    ForkServer as ForkServer,
    connect_to_new_process as connect_to_new_process,
    ensure_running as ensure_running,
    get_inherited_fds as get_inherited_fds,
    main as main,
    read_signed as read_signed,
    set_forkserver_preload as set_forkserver_preload,
    write_signed as write_signed,
)

__all__ = ["ensure_running", "get_inherited_fds", "connect_to_new_process", "set_forkserver_preload"]

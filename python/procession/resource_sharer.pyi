from multiprocessing.resource_sharer import DupFd as DupFd, stop as stop

__all__ = ["stop", "DupFd"]

from multiprocessing.popen_spawn_posix import Popen as Popen

__all__ = ["Popen"]

from multiprocessing.popen_forkserver import Popen as Popen

__all__ = ["Popen"]

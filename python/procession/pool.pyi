from multiprocessing.pool import (
    CLOSE as CLOSE,
    INIT as INIT,
    RUN as RUN,
    TERMINATE as TERMINATE,
    ApplyResult as ApplyResult,
    AsyncResult as AsyncResult,
    IMapIterator as IMapIterator,
    IMapUnorderedIterator as IMapUnorderedIterator,
    MapResult as MapResult,
    Pool as Pool,
    ThreadPool as ThreadPool,
)

__all__ = ["Pool", "ThreadPool"]

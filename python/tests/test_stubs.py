"""A type checker's answers about programs. (mypy's stubtest compares the stubs with the package.)"""

import subprocess
import sys

import pytest

pytest.importorskip("mypy")

# Where there is a `type: ignore`, there must be an error: mypy complains of those that are not needed.
PROGRAM = """\
from __future__ import annotations

import ctypes
import multiprocessing.context
import multiprocessing.queues
import multiprocessing.synchronize
from concurrent.futures import ProcessPoolExecutor
from typing import Any, assert_type

import procession as mp
from procession import connection, context, managers, pool, queues, sharedctypes, synchronize
from procession.dummy import Pool as ThreadPool
from procession.queues import ConsumerDied, ShutDown
from procession.shared_memory import ShareableList, SharedMemory
from procession.synchronize import OwnerDiedWarning

mp.install()
assert_type(mp.__version__, str)


def ours() -> None:
    numbers: mp.Queue[int] = mp.Queue(3, strict=True, zero_copy=True)
    numbers.put(1, timeout=1.0)
    numbers.put("one")  # type: ignore[arg-type]
    assert_type(numbers.get(), int)
    assert_type(numbers.put_many(range(3)), int)
    numbers.put_many(["one"])  # type: ignore[list-item]
    assert_type(numbers.get_many(3, timeout=1), list[int])
    numbers.shutdown(immediate=True)
    mp.Queue(watch=True)  # type: ignore[call-arg]
    with numbers.producer() as producer:
        assert_type(producer, queues.Producer[int])
        producer.put("one")  # type: ignore[arg-type]
        assert_type(producer.put_many(range(3)), int)

    tasks: mp.JoinableQueue[str] = mp.JoinableQueue(watch=True)
    try:
        tasks.task_done()
        tasks.join()
    except (ShutDown, ConsumerDied, OwnerDiedWarning, mp.ProcessError):
        pass

    simple: mp.SimpleQueue[bytes] = mp.SimpleQueue()
    assert_type(simple.get(timeout=1), bytes)


def contexts() -> None:
    assert_type(mp.get_context(), context.DefaultContext)
    spawn = mp.get_context("spawn")
    assert_type(spawn, context.SpawnContext)
    assert_type(spawn.Queue(strict=True), queues.Queue[Any])
    assert_type(spawn.Lock(), synchronize.Lock)
    ProcessPoolExecutor(mp_context=spawn)


def theirs(
    queue: multiprocessing.queues.Queue[int],
    lock: multiprocessing.synchronize.Lock,
    context: multiprocessing.context.BaseContext,
) -> None: ...


def as_the_standard_library(queue: mp.Queue[int], lock: synchronize.Lock) -> None:
    theirs(queue, lock, mp.get_context("fork"))
    process = mp.Process(target=theirs, args=(queue, lock), daemon=True)
    assert_type(process.exitcode, int | None)
    with mp.Pool(2) as workers:
        assert_type(workers, pool.Pool)
        assert_type(workers.map(str, [1, 2]), list[str])
    with mp.Manager() as manager:
        assert_type(manager, managers.SyncManager)
    with lock, mp.RLock() as acquired:
        assert_type(acquired, bool)
    assert_type(mp.Semaphore(2).get_value(), int)
    assert_type(mp.Condition(mp.Lock()), synchronize.Condition)
    assert_type(mp.Event().wait(1), bool)
    assert_type(mp.Value(ctypes.c_int, 0), sharedctypes.Synchronized[int])
    reader, writer = mp.Pipe(duplex=False)
    ready: list[connection.Connection[int, int]] = connection.wait([reader, writer])
    connection.wait([ready[0], process.sentinel], timeout=1)
    memory = SharedMemory(create=True, size=10)
    assert_type(memory.name, str)
    assert_type(ShareableList([1, 2])[0], int)
    ThreadPool(2)


class Worker(mp.Process):
    def run(self) -> None: ...
"""


@pytest.mark.watchdog(240)
def test_a_program_is_well_typed(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", "program.py"]
    result = subprocess.run(mypy, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert result.returncode == 0, result.stdout + result.stderr

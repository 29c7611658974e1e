"""Queues, locks and semaphores are garbage-collected like any other object, also from reference cycles."""

import gc
import weakref

import pytest

import procession

MAKERS = ["Queue", "JoinableQueue", "SimpleQueue", "Lock", "RLock", "Semaphore", "BoundedSemaphore"]


@pytest.mark.smoke
@pytest.mark.parametrize("name", MAKERS)
def test_circle(name):
    thing = getattr(procession, name)()
    thing.itself = thing
    gone = weakref.ref(thing)
    del thing
    gc.collect()
    assert gone() is None

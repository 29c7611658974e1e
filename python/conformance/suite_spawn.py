"""CPython's tests of `multiprocessing`, with the start method spawn."""

import suite

suite.fill(globals(), "spawn")

"""CPython's tests of `multiprocessing`, with the start method forkserver."""

import suite

suite.fill(globals(), "forkserver")

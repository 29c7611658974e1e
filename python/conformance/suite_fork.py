"""CPython's tests of `multiprocessing`, with the start method fork."""

import suite

suite.fill(globals(), "fork")

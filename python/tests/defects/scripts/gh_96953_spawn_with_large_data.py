"""#96953: with `spawn`, `start` waits for the child to boot as soon as the start data exceed 64 KiB.

So ten processes start one after the other, and it takes ten times as long. Here a child needs seconds to boot, and
`start` must not.
"""

import hashlib
import os
import shlex
import sys
import tempfile
import time

from _common import PATIENCE, check, mp, right

BOOT = 2.0
SMALL, LARGE = 1 << 10, 8 << 20


def child(data, digest):
    if hashlib.sha256(data).hexdigest() != digest:
        sys.exit("the start data are not what was sent")


def main():
    ctx = mp.get_context("spawn")
    with tempfile.TemporaryDirectory() as directory:
        slow = os.path.join(directory, "slow-python")
        with open(slow, "w") as file:
            file.write(f'#!/bin/sh\nsleep {BOOT}\nexec {shlex.quote(sys.executable)} "$@"\n')
        os.chmod(slow, 0o700)
        ctx.set_executable(slow)
        processes, took = [], {}
        for size in (SMALL, LARGE):
            data = os.urandom(size)
            process = ctx.Process(target=child, args=(data, hashlib.sha256(data).hexdigest()), daemon=True)
            begin = time.monotonic()
            process.start()
            took[size] = time.monotonic() - begin
            processes.append(process)
        check(took[SMALL] < BOOT / 2, f"start takes {took[SMALL]:.3f} s with {SMALL} bytes of data")
        check(
            took[LARGE] < BOOT / 2,
            f"start takes {took[SMALL]:.3f} s with {SMALL} bytes of data and {took[LARGE]:.3f} s with {LARGE}: "
            f"it waits for the child, which boots for {BOOT} s",
        )
        for process in processes:
            process.join(BOOT + PATIENCE)
            check(process.exitcode == 0, f"exit code {process.exitcode}")
    right()


if __name__ == "__main__":
    main()

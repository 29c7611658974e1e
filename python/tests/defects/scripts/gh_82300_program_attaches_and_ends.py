"""#82300: another program attaches to shared memory and ends; its resource tracker unlinks memory in use."""

import subprocess
import sys
import time

from _common import PACKAGE, PATIENCE, check, right, sub, wrong

SharedMemory = sub("shared_memory").SharedMemory

VISITOR = f"""
import sys
from {PACKAGE}.shared_memory import SharedMemory
memory = SharedMemory(sys.argv[1])
memory.buf[0] += 1
memory.close()
"""


def main():
    memory = SharedMemory(create=True, size=4096)
    try:
        memory.buf[0] = 41
        visitor = subprocess.run([sys.executable, "-c", VISITOR, memory.name], timeout=PATIENCE)
        check(visitor.returncode == 0, f"exit code {visitor.returncode}")
        for _ in range(10):
            time.sleep(0.1)
            try:
                again = SharedMemory(memory.name)
            except FileNotFoundError:
                wrong("the shared memory is gone, though its maker uses it")
            check(again.buf[0] == 42, f"there is {again.buf[0]} in it")
            again.close()
    finally:
        memory.close()
        try:
            memory.unlink()
        except FileNotFoundError:
            pass
    right()


if __name__ == "__main__":
    main()

"""#82300: the program that made shared memory is killed; its resource tracker unlinks what another still uses."""

import os
import subprocess
import sys
import time

from _common import PACKAGE, PATIENCE, check, right, sub, wrong

SharedMemory = sub("shared_memory").SharedMemory

MAKER = f"""
import sys
from {PACKAGE}.shared_memory import SharedMemory
memory = SharedMemory(create=True, size=4096)
memory.buf[0] = 42
print(memory.name, flush=True)
sys.stdin.read()
"""


def main():
    command = [sys.executable, "-c", MAKER]
    maker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    name = maker.stdout.readline().strip()
    mine = SharedMemory(name)
    maker.kill()
    maker.wait(PATIENCE)
    for _ in range(10):
        time.sleep(0.1)
        try:
            again = SharedMemory(name)
        except FileNotFoundError:
            wrong("the shared memory is gone, though it is used")
        check(again.buf[0] == mine.buf[0] == 42, f"there is {again.buf[0]} in it")
        again.close()
    mine.close()
    SharedMemory(name).unlink()
    check(not os.path.exists(f"/dev/shm/{name}"), "it is still there")
    right()


if __name__ == "__main__":
    main()

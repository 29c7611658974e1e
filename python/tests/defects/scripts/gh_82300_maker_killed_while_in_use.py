"""#82300: the program that made shared memory is killed; its resource tracker unlinks memory in use."""

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

OTHER = f"""
import sys
from {PACKAGE}.shared_memory import SharedMemory
try:
    memory = SharedMemory(sys.argv[1])
except FileNotFoundError:
    print("gone")
else:
    print(memory.buf[0])
    memory.close()
"""


def main():
    command = [sys.executable, "-c", MAKER]
    maker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    name = maker.stdout.readline().strip()
    mine = SharedMemory(name)
    maker.kill()
    maker.wait(PATIENCE)
    time.sleep(0.5)
    for _ in range(2):
        other = subprocess.run(
            [sys.executable, "-c", OTHER, name], capture_output=True, text=True, timeout=PATIENCE
        )
        if other.stdout.strip() == "gone":
            wrong("the shared memory is gone, though it is used")
        check(
            other.stdout.strip() == str(mine.buf[0]) == "42", f"there is {other.stdout} in it {other.stderr}"
        )
    mine.unlink()
    mine.close()
    check(not os.path.exists(f"/dev/shm/{name}"), "it is still there")
    right()


if __name__ == "__main__":
    main()

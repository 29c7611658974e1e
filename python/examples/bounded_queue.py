"""A bakery with a shelf for three loaves: a bounded queue when it is full, and when it is empty.

This process is the baker, and another process is the customer. `put_nowait` and `put(timeout=...)` raise
`queue.Full`, `get_nowait` and `get(timeout=...)` raise `queue.Empty`. Without a timeout `put` and `get` wait.
"""

import argparse
import multiprocessing
from queue import Empty, Full

LOAVES = ["rye", "wheat", "spelt", "oat", "barley"]


def customer(shelf, doors, basket):
    """Wait until the bakery opens, then buy all there is."""
    doors.wait()
    basket.put(list(iter(shelf.get, "closed")))


def main():
    shelf = multiprocessing.Queue(maxsize=3)
    basket = multiprocessing.Queue()
    doors = multiprocessing.Event()

    try:
        shelf.get_nowait()
    except Empty:
        print("nothing on the shelf yet")

    process = multiprocessing.Process(target=customer, args=(shelf, doors, basket))
    process.start()

    waiting = []
    for loaf in LOAVES:
        try:
            shelf.put_nowait(loaf)
            print(f"{loaf}: on the shelf")
        except Full:
            print(f"{loaf}: no room")
            waiting.append(loaf)

    print(f"full: {shelf.full()}, loaves: {shelf.qsize()}")
    try:
        shelf.put(waiting[0], timeout=0.1)
    except Full:
        print(f"{waiting[0]}: still no room after a while")

    doors.set()
    for loaf in waiting:
        shelf.put(loaf)  # waits until the customer has made room
        print(f"{loaf}: on the shelf at last")
    shelf.put("closed")

    print("bought:", ", ".join(basket.get()))
    process.join()
    try:
        shelf.get(timeout=0.1)
    except Empty:
        print("the shelf is empty")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A bounded queue that is full, and then empty.")
    parser.add_argument("--method", choices=multiprocessing.get_all_start_methods())
    method = parser.parse_args().method
    if method:
        multiprocessing.set_start_method(method)
    main()

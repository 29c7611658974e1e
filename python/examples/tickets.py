"""Five tickets, and twelve buyers at once.

The ticket office is a file of JSON. Each buyer is a process that reads how many tickets are left, takes a moment to
decide, and writes one ticket less. With a lock around that, five buyers get a ticket. With `--no-lock`, several
buyers see the same ticket before the first of them has bought it.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import pathlib
import random
import tempfile
import time

TICKETS = 5
BUYERS = 12


def buy(office, lock, sales):
    """Buys a ticket if there is one, and returns whether there was."""
    with lock:
        tickets = json.loads(office.read_text())["tickets"]
        time.sleep(random.uniform(0.001, 0.02))
        bought = tickets > 0
        if bought:
            write(office, tickets - 1)
    sales.put(bought)


def write(office, tickets):
    """Replaces the file in one step, so that no process ever reads half of it."""
    new = office.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps({"tickets": tickets}))
    new.replace(office)


def main(use_lock):
    lock = multiprocessing.Lock() if use_lock else contextlib.nullcontext()
    sales = multiprocessing.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        office = pathlib.Path(folder, "office.json")
        write(office, TICKETS)

        buyers = [multiprocessing.Process(target=buy, args=(office, lock, sales)) for _ in range(BUYERS)]
        for buyer in buyers:
            buyer.start()
        for buyer in buyers:
            buyer.join()

        sold = sum(sales.get() for _ in buyers)
        left = json.loads(office.read_text())["tickets"]
    print(f"{BUYERS} buyers, {TICKETS} tickets: {sold} sold, {left} left")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Many buyers, few tickets, and a lock.")
    parser.add_argument("--method", choices=multiprocessing.get_all_start_methods())
    parser.add_argument("--no-lock", action="store_true", help="buy without the lock, to see it go wrong")
    args = parser.parse_args()
    if args.method:
        multiprocessing.set_start_method(args.method)
    main(use_lock=not args.no_lock)

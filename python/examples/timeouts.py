"""Consumers that stop when nothing has come for a while.

They get no message that the work is over: `get(timeout=...)` raises `queue.Empty` after it has waited that
long.
"""

import argparse
import time
from multiprocessing import Process, Queue, get_all_start_methods, set_start_method
from queue import Empty

PATIENCE = 1.0  # seconds that a consumer waits for the next order


class Cook(Process):
    def __init__(self, orders, meals):
        super().__init__()
        self.orders = orders
        self.meals = meals

    def run(self):
        cooked = 0
        while True:
            try:
                order = self.orders.get(timeout=PATIENCE)
            except Empty:
                break
            self.meals.put(f"a meal of {order}")
            cooked += 1
        self.meals.put(cooked)  # the last thing of each cook is a number


def main():
    orders = Queue()
    meals = Queue()
    cooks = [Cook(orders, meals) for _ in range(3)]
    for cook in cooks:
        cook.start()
    for order in ["soup", "rice", "beans", "pasta", "stew", "curry", "salad"]:
        orders.put(order)
        time.sleep(0.01)  # orders come one by one, faster than a cook loses patience

    served = []
    counts = []
    while len(counts) < len(cooks):
        meal = meals.get()
        if isinstance(meal, int):
            counts.append(meal)
        else:
            served.append(meal)
    for cook in cooks:
        cook.join()

    for meal in sorted(served):
        print(meal)
    print(f"{len(cooks)} cooks went home after {sum(counts)} meals")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Consumers that stop after a timeout.")
    parser.add_argument("--method", choices=get_all_start_methods())
    method = parser.parse_args().method
    if method:
        set_start_method(method)
    main()

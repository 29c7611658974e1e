"""Several producers, several consumers, and one sentinel for each consumer.

A sentinel is a value that means "there will be no more". The consumer that gets it stops, so there must be as many
of them as there are consumers, and they must come after the last real item.
"""

import argparse
import multiprocessing

PRODUCERS = 3
CONSUMERS = 4
ITEMS = 20
SENTINEL = None


def produce(number, items):
    for i in range(ITEMS):
        items.put(number * 100 + i)


def consume(items, results):
    while True:
        item = items.get()
        if item is SENTINEL:
            break
        results.put((item, item * item))
    results.put(SENTINEL)  # tells the parent that this consumer is done


def main():
    items = multiprocessing.Queue()
    results = multiprocessing.Queue()
    producers = [multiprocessing.Process(target=produce, args=(n, items)) for n in range(PRODUCERS)]
    consumers = [multiprocessing.Process(target=consume, args=(items, results)) for _ in range(CONSUMERS)]
    for process in producers + consumers:
        process.start()

    for process in producers:
        process.join()
    for _ in consumers:
        items.put(SENTINEL)

    squares = {}
    done = 0
    while done < CONSUMERS:
        result = results.get()
        if result is SENTINEL:
            done += 1
        else:
            item, square = result
            squares[item] = square
    for process in consumers:
        process.join()

    for number in range(PRODUCERS):
        mine = [squares[item] for item in sorted(squares) if item // 100 == number]
        print(f"producer {number}: {len(mine)} items, the sum of their squares is {sum(mine)}")
    print(f"{len(squares)} items in all")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Producers, consumers and sentinels.")
    parser.add_argument("--method", choices=multiprocessing.get_all_start_methods())
    method = parser.parse_args().method
    if method:
        multiprocessing.set_start_method(method)
    main()

"""A pool of workers, and the many ways to give it work."""

import argparse
import multiprocessing
import os
import time


def square(number):
    return number * number


def power(base, exponent):
    return base**exponent


def inverse(number):
    return 1 / number


def nap(seconds):
    time.sleep(seconds)
    return seconds


def set_greeting(text):
    """Sets the greeting. It runs once in each worker, before the first task."""
    global greeting
    greeting = text


def greet(name):
    return f"{greeting}, {name}!"


def main():
    with multiprocessing.Pool(processes=3, initializer=set_greeting, initargs=("Hello",)) as pool:
        print("map:", pool.map(square, range(10)))
        print("map in chunks:", sum(pool.map(square, range(1000), chunksize=50)))
        print("imap:", list(pool.imap(square, range(10))))
        print("imap_unordered:", sorted(pool.imap_unordered(square, range(10), chunksize=2)))
        print("starmap:", pool.starmap(power, [(2, 10), (3, 4), (10, 2)]))
        print("apply:", pool.apply(power, (2,), {"exponent": 16}))
        print("initializer:", pool.map(greet, ["Ada", "Alan"]))
        print("another process:", pool.apply(os.getpid) != os.getpid())

        # Callbacks are called in this process, in a thread of the pool, before get() returns.
        heard = []
        results = [pool.apply_async(square, (n,), callback=heard.append) for n in range(5)]
        print("apply_async:", [result.get() for result in results])
        print("callbacks:", sorted(heard))
        result = pool.map_async(square, range(5), callback=heard.extend)
        result.wait()
        print("map_async:", result.ready(), result.successful(), result.get())

        # An exception in a worker is raised here.
        for call in pool.apply, pool.map:
            try:
                call(inverse, (0,))
            except ZeroDivisionError as error:
                print(f"{call.__name__} raised {error!r}")
        values = pool.imap(inverse, [1, 0, 2])
        print("imap:", next(values))
        try:
            next(values)
        except ZeroDivisionError as error:
            print(f"imap raised {error!r}, and went on:", next(values))
        errors = []
        result = pool.apply_async(inverse, (0,), error_callback=errors.append)
        result.wait()
        print("error_callback:", result.successful(), errors)

        # A result that is not there in time may still come later.
        result = pool.apply_async(nap, (0.5,))
        try:
            result.get(timeout=0.05)
        except multiprocessing.TimeoutError:
            print("get: not yet")
        print("get:", result.get())

        pool.close()
        pool.join()
    try:
        pool.map(square, [1])
    except ValueError as error:
        print("closed:", error)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A tour of multiprocessing.Pool.")
    parser.add_argument("--method", choices=multiprocessing.get_all_start_methods())
    method = parser.parse_args().method
    if method:
        multiprocessing.set_start_method(method)
    main()

"""`concurrent.futures.ProcessPoolExecutor`: futures, results as they come, errors, and a worker that dies."""

import argparse
import multiprocessing
import os
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool


def is_prime(number):
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def parse(text):
    return int(text)


def vanish():
    os._exit(1)


def main():
    numbers = range(1000, 1030)
    with ProcessPoolExecutor(max_workers=3) as executor:
        primes = executor.map(is_prime, numbers, chunksize=5)
        print("map:", [number for number, prime in zip(numbers, primes, strict=True) if prime])
        print("map of two:", list(executor.map(pow, [2, 3, 4], [5, 4, 3])))

        future = executor.submit(pow, 7, 2)
        heard = []
        future.add_done_callback(lambda future: heard.append(future.result()))
        print("submit:", future.result(timeout=30))
    print("callback:", heard)  # by now it has been called, in a thread of the executor

    with ProcessPoolExecutor(max_workers=3) as executor:
        futures = {executor.submit(parse, text): text for text in ["1", "two", "3", "4"]}
        outcomes = {}
        for future in as_completed(futures):
            try:
                outcomes[futures[future]] = future.result()
            except ValueError as error:
                outcomes[futures[future]] = repr(error)
        for text in sorted(outcomes):
            print(f"parse({text!r}): {outcomes[text]}")

        future = executor.submit(parse, "three")
        done, not_done = wait([future], timeout=30, return_when=FIRST_EXCEPTION)
        print("wait:", len(done), len(not_done), type(future.exception()).__name__)

    with ProcessPoolExecutor(max_workers=2) as executor:
        try:
            executor.submit(vanish).result()
        except BrokenProcessPool:
            print("a worker died")
        try:
            executor.submit(parse, "5")
        except BrokenProcessPool:
            print("and the executor takes no more work")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A tour of ProcessPoolExecutor.")
    parser.add_argument("--method", choices=multiprocessing.get_all_start_methods())
    method = parser.parse_args().method
    if method:
        multiprocessing.set_start_method(method)
    main()

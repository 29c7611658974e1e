"""Daemon workers that never end by themselves, and a queue that knows when all tasks are done.

`JoinableQueue.join` waits until `task_done` has been called once for each item. The workers are daemons: when this
program ends, they are ended with it.
"""

import argparse
import multiprocessing

WORKERS = 3


def worker(tasks, results, at_work):
    at_work.wait()
    while True:
        number = tasks.get()
        try:
            results.put((number, 100 // number))
        except ZeroDivisionError as error:
            results.put((number, str(error)))
        finally:
            tasks.task_done()  # whatever happened, or join() would wait for ever


def main():
    tasks = multiprocessing.JoinableQueue(maxsize=4)
    results = multiprocessing.Queue()
    at_work = multiprocessing.Barrier(WORKERS + 1)
    arguments = tasks, results, at_work
    workers = [multiprocessing.Process(target=worker, args=arguments, daemon=True) for _ in range(WORKERS)]
    for process in workers:
        process.start()
    at_work.wait()

    numbers = range(-5, 6)
    for number in numbers:
        tasks.put(number)
    tasks.join()
    print("every task is done")

    for number, result in sorted(results.get() for _ in numbers):
        print(f"100 // {number} = {result}")
    print("workers still there:", sum(process.is_alive() for process in workers))
    try:
        tasks.task_done()
    except ValueError as error:
        print("once too often:", error)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A joinable queue and daemon workers.")
    parser.add_argument("--method", choices=multiprocessing.get_all_start_methods())
    method = parser.parse_args().method
    if method:
        multiprocessing.set_start_method(method)
    main()

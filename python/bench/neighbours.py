#!/usr/bin/env python3
"""Measures how fast two processes answer each other if they may have started on the same processor.

Each run forks a child that answers messages, right after the same run with the standard library's queues,
whose processes the system tends to put on one processor. The result is the median of a run's round trips: on
one processor a round trip is two context switches, and this must not last while another processor is idle.

Keep the machine idle while this runs; with `--idle`, it waits before each run until the machine is idle.
"""

import argparse
import multiprocessing
import time
from statistics import mean, median

import procession

# A run whose median round trip takes more microseconds was on one processor for most of the time.
SLOW = 5.0


def answer(there, back):
    while (message := there.get()) is not None:
        back.put(message)


def run(context, trips):
    """Returns the round trips between this process and a fresh child, in microseconds."""
    there, back = context.SimpleQueue(), context.SimpleQueue()
    child = context.Process(target=answer, args=(there, back))
    child.start()
    took = []
    for number in range(trips + 1):
        begin = time.perf_counter_ns()
        there.put(number)
        back.get()
        took.append((time.perf_counter_ns() - begin) / 1e3)
    there.put(None)
    child.join()
    # The first one includes the child's start.
    return took[1:]


def processor_time():
    """Returns the idle time and all time of the machine's processors, in ticks."""
    with open("/proc/stat") as file:
        ticks = [int(field) for field in file.readline().split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def wait_until_idle(share=0.9):
    while True:
        idle, total = processor_time()
        time.sleep(0.05)
        idle_now, total_now = processor_time()
        if total_now > total and (idle_now - idle) / (total_now - total) >= share:
            return


def show(name, runs):
    medians = sorted(median(took) for took in runs)
    means = sorted(mean(took) for took in runs)
    slow = sum(value > SLOW for value in medians)
    print(
        f"{name:10} medians {medians[0]:.2f} / {median(medians):.2f} / {medians[-1]:.2f} µs (least, median, most),"
        f" {slow} of {len(runs)} over {SLOW:g} µs; means {means[0]:.2f} / {median(means):.2f} / {means[-1]:.2f} µs"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100, help="number of runs (default: %(default)s)")
    parser.add_argument(
        "--trips", type=int, default=3_000, help="number of round trips in each run (default: %(default)s)"
    )
    parser.add_argument("--idle", action="store_true", help="wait before each run until the machine is idle")
    options = parser.parse_args()

    standard, ours = [], []
    for _ in range(options.runs):
        if options.idle:
            wait_until_idle()
        standard.append(run(multiprocessing.get_context("fork"), options.trips))
        ours.append(run(procession.get_context("fork"), options.trips))
    show("standard", standard)
    show("procession", ours)


if __name__ == "__main__":
    main()

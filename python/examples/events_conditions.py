"""Processes that wait for each other: an event, a condition, a barrier and a semaphore."""

import argparse
import multiprocessing
import time

RUNNERS = 4


def run_after(gun, finished):
    gun.wait()
    finished.release()


def race():
    """Starts all runners at once by an event."""
    gun = multiprocessing.Event()
    finished = multiprocessing.Semaphore(0)
    runners = [multiprocessing.Process(target=run_after, args=(gun, finished)) for _ in range(RUNNERS)]
    for runner in runners:
        runner.start()
    print("finished before the gun:", finished.acquire(timeout=0.1), gun.is_set())
    gun.set()
    print("finished after it:", [finished.acquire(timeout=30) for _ in runners], gun.wait())
    for runner in runners:
        runner.join()


def fill(tank, condition):
    for _ in range(10):
        with condition:
            tank.value += 1
            condition.notify_all()


def wait_for_water():
    """Waits until something is true, by a condition."""
    condition = multiprocessing.Condition()
    tank = multiprocessing.Value("i", 0, lock=condition)  # the value's lock is the condition's
    pumps = [multiprocessing.Process(target=fill, args=(tank, condition)) for _ in range(3)]
    for pump in pumps:
        pump.start()
    with condition:
        print("tank is full:", condition.wait_for(lambda: tank.value >= 30, timeout=30), tank.value)
        print("tank runs over:", condition.wait_for(lambda: tank.value > 30, timeout=0.1))
    for pump in pumps:
        pump.join()


def climb(barrier, log, number):
    for stage in range(3):
        log.put((stage, number))
        if barrier.wait() == 0:  # one of them, whichever it is, gets the zero
            log.put((stage, "rest"))
        barrier.wait()


def climb_together():
    """Keeps a group together by a barrier."""
    barrier = multiprocessing.Barrier(3)
    log = multiprocessing.SimpleQueue()
    climbers = [multiprocessing.Process(target=climb, args=(barrier, log, n)) for n in range(3)]
    for climber in climbers:
        climber.start()
    for stage in range(3):
        lines = [log.get() for _ in range(4)]
        together = {line[0] for line in lines} == {stage}
        print(f"stage {stage}: {sorted(str(who) for _, who in lines)}, together: {together}")
    for climber in climbers:
        climber.join()


def park(places, inside, most):
    with places:
        with inside.get_lock():
            inside.value += 1
            most.value = max(most.value, inside.value)
        time.sleep(0.02)
        with inside.get_lock():
            inside.value -= 1


def share_places():
    """Limits how many work at the same time by a semaphore."""
    places = multiprocessing.BoundedSemaphore(2)
    inside = multiprocessing.Value("i", 0)
    most = multiprocessing.Value("i", 0)
    cars = [multiprocessing.Process(target=park, args=(places, inside, most)) for _ in range(6)]
    for car in cars:
        car.start()
    for car in cars:
        car.join()
    print("never more than two inside:", 1 <= most.value <= 2, "inside now:", inside.value)
    try:
        places.release()
    except ValueError as error:
        print("nobody was inside:", error)


def main():
    race()
    wait_for_water()
    climb_together()
    share_places()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Event, Condition, Barrier and Semaphore.")
    parser.add_argument("--method", choices=multiprocessing.get_all_start_methods())
    method = parser.parse_args().method
    if method:
        multiprocessing.set_start_method(method)
    main()

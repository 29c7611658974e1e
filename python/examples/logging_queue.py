"""Logging from many processes into one place, without mixing up their lines.

Each worker's only handler puts its records into a queue. The parent listens to that queue and gives the records to
the real handlers, here two lists that are printed at the end.
"""

import argparse
import logging
import logging.handlers
import multiprocessing


class ListHandler(logging.Handler):
    """Keeps the lines; a real program would write them to a file or a console."""

    def __init__(self, level=logging.NOTSET):
        super().__init__(level)
        self.lines = []
        self.setFormatter(logging.Formatter("%(processName)s %(name)s %(levelname)s: %(message)s"))

    def emit(self, record):
        self.lines.append(self.format(record))


def work(records, number):
    root = logging.getLogger()
    root.handlers = [logging.handlers.QueueHandler(records)]
    root.setLevel(logging.INFO)

    log = logging.getLogger(f"work.{number}")
    log.debug("nobody wants to know this")
    log.info("starting with %d", number)
    try:
        log.info("12 / %d is %g", number, 12 / number)
    except ZeroDivisionError as error:
        log.error("cannot divide by %d: %s", number, error)
    log.warning("that was all, %s", {"number": number})


def main():
    records = multiprocessing.Queue()
    workers = [multiprocessing.Process(target=work, args=(records, n), name=f"worker-{n}") for n in range(4)]
    for worker in workers:
        worker.start()

    everything = ListHandler()
    trouble = ListHandler(logging.WARNING)
    listener = logging.handlers.QueueListener(records, everything, trouble, respect_handler_level=True)
    listener.start()
    for worker in workers:
        worker.join()
    listener.stop()  # after the last record

    for line in sorted(everything.lines):
        print(line)
    print(f"{len(everything.lines)} records, {len(trouble.lines)} of them trouble")

    first = [line for line in everything.lines if line.startswith("worker-0")]
    print("in order:", [line.split()[2] for line in first])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Logging through a queue.")
    parser.add_argument("--method", choices=multiprocessing.get_all_start_methods())
    method = parser.parse_args().method
    if method:
        multiprocessing.set_start_method(method)
    main()

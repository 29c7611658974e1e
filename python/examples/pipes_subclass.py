"""Processes as classes that talk through pipes.

`Calculator` answers questions through a bidirectional pipe. `Countdown` writes to a one-way pipe, whose
reader gets `EOFError` at the end. That error comes only when *no* process has the other end open any more, so
each process closes the ends that it does not use.
"""

import argparse
import multiprocessing


class Calculator(multiprocessing.Process):
    """Adds up the numbers that it gets, until the other end is closed."""

    def __init__(self, name, mine, theirs):
        super().__init__(name=name)
        self.mine = mine
        self.theirs = theirs
        self.answers = 0

    def run(self):
        self.theirs.close()
        while True:
            try:
                numbers = self.mine.recv()
            except EOFError:
                break
            self.answers += 1
            self.mine.send((self.name, sum(numbers), self.answers))


class Countdown(multiprocessing.Process):
    """Counts down to zero, and leaves."""

    def __init__(self, start_at, writer):
        super().__init__(daemon=True)
        self.start_at = start_at
        self.writer = writer

    def run(self):
        for number in range(self.start_at, 0, -1):
            self.writer.send(number)
        self.writer.send_bytes(b"lift-off")


def calculate():
    ours, theirs = multiprocessing.Pipe()
    calculator = Calculator("adder", theirs, ours)
    calculator.start()
    theirs.close()

    print("an answer before the question:", ours.poll())
    for numbers in [1, 2, 3], range(1000), [0.5, 0.25]:
        ours.send(numbers)
        print("an answer:", ours.poll(30), ours.recv())

    ours.close()
    calculator.join()
    # A change by run() stays in the child; here the value is still that of __init__.
    print(f"{calculator.name} ended with {calculator.exitcode}, and answers is {calculator.answers} here")


def count_down():
    reader, writer = multiprocessing.Pipe(duplex=False)
    countdown = Countdown(3, writer)
    countdown.start()
    writer.close()

    for _ in range(countdown.start_at):
        print("counting:", reader.recv())
    print(reader.recv_bytes().decode())
    try:
        reader.recv()
    except EOFError:
        print("and nothing more")
    countdown.join()
    try:
        reader.send("hello?")
    except OSError as error:
        print("one way only:", error)


def main():
    calculate()
    count_down()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Subclasses of Process that talk through pipes.")
    parser.add_argument("--method", choices=multiprocessing.get_all_start_methods())
    method = parser.parse_args().method
    if method:
        multiprocessing.set_start_method(method)
    main()

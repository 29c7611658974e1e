#!/usr/bin/env python3
"""Measures Procession, the standard library and faster-fifo, and prints one table.

Rounds are the outermost loop: each measures every contender of every case once, so that other load on the
machine affects all of them alike. A row is the median of the rounds. A contender that hangs is killed after a
minute, and the table says so. A contender that is not installed is shown as "-". Progress goes to standard
error.

Keep the machine idle while this runs.
"""

import argparse
import importlib.util
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from cases import CASES, Figure
from contenders import CONTENDERS, STANDARD
from machine import describe
from measure import Failure, measure
from short import short
from table import has_target, ratio, reached, reference, table

# The time of a measurement in seconds. Fixed amounts of work are in proportion.
TIME, QUICK_TIME = 0.5, 0.15
# A measurement that takes more seconds than this hangs.
LIMIT = 60

NOTE = f"""\
Times as good: more in the same time, or the same in less. Where messages are read without a copy, the
{STANDARD} stands beside with its ordinary queue."""


@dataclass
class Result:
    """A row: one figure of one contender, with a value for each round."""

    case: str
    contender: str
    figure: Figure
    values: list[float] = field(default_factory=list)
    failure: str = ""

    @property
    def median(self):
        return median(self.values)


class Entry:
    """A contender in a case: its rows, and its amount of work."""

    def __init__(self, case, contender, options):
        self.case, self.contender, self.method, self.limit = case, contender, options.method, options.limit
        self.work = case.work
        self.results = [Result(case.name, contender.name, figure) for figure in case.figures]
        self.over = False
        if not contender.present():
            self.give_up(f"{contender.name} is not installed")
        elif case.needs_numpy and importlib.util.find_spec("numpy") is None:
            self.give_up("numpy is not installed")

    def calibrate(self, time):
        """Finds the amount of work that takes about the wanted time."""
        if self.case.fixed:
            self.work = max(3, round(self.work * time / TIME))
            return
        for _ in range(8):
            seconds, _ = self.once()
            factor = time / max(seconds, 1e-6)
            self.work = max(1, round(self.work * min(factor, 20)))
            # A short measurement says little about a long one (buffers are touched for the first time), so it
            # is repeated.
            if factor < 1.5:
                return

    def round(self):
        _, figures = self.once()
        for result, value in zip(self.results, figures, strict=True):
            result.values.append(value)

    def once(self):
        return measure(self.case.name, self.contender.name, self.method, self.work, self.limit)

    def attempt(self, what, *arguments):
        """Calls a measurement, unless it has failed before: a hang costs a minute, and once is enough."""
        if self.over:
            return
        try:
            what(*arguments)
        except Failure as failure:
            self.give_up(str(failure))
            say(f"{self.case.name}, {self.contender.name}: {failure}")

    def give_up(self, reason):
        self.over = True
        for result in self.results:
            result.failure = reason


def main():
    options = parse()
    names = chosen(options.only)
    if options.list:
        for name in names:
            print(f"{name}: {', '.join(CASES[name].contenders)}")
        return 0

    # The figures of a busy machine mean little, so the load is read before the benchmarks add to it.
    facts = describe(options.method)
    rounds = options.rounds or (3 if options.quick else 5)
    facts["rounds"] = f"{rounds}, all contenders in each"
    if options.quick:
        facts["quick"] = "with a third of the work, so take the figures as a first impression"
    entries = [
        Entry(CASES[name], CONTENDERS[contender], options)
        for name in names
        for contender in CASES[name].contenders
    ]
    hold(entries, rounds, QUICK_TIME if options.quick else TIME)

    results = [result for entry in entries for result in entry.results]
    # Figure by figure, so that the rows of rivals are adjacent.
    results.sort(
        key=lambda result: (names.index(result.case), CASES[result.case].figures.index(result.figure))
    )
    for name, value in facts.items():
        print(f"* {name}: {value}")
    print(f"\n{table(results)}\n\n{NOTE}" if options.markdown else f"\n{short(results)}")
    if options.json:
        options.json.write_text(json.dumps(report(facts, results), indent=2, ensure_ascii=False) + "\n")
    tried = [entry for entry in entries if entry.contender.present()]
    return 1 if any(entry.over for entry in tried) else 0


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--rounds",
        type=positive,
        metavar="N",
        help="number of rounds (default: 5, or 3 with --quick)",
    )
    parser.add_argument("--quick", action="store_true", help="do a third of the work, to see that it runs")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="CASE",
        help="measure only cases whose name contains this text (ignores case; may be repeated); see --list",
    )
    parser.add_argument(
        "--method",
        choices=["fork", "spawn", "forkserver"],
        default="fork",
        help="the start method (default: fork)",
    )
    parser.add_argument(
        "--limit",
        type=positive,
        default=LIMIT,
        metavar="SECONDS",
        help=f"time limit of a measurement; after it the measurement counts as a hang (default: {LIMIT})",
    )
    parser.add_argument(
        "--markdown",
        action="store_true",
        help="print a Markdown table of all contenders with range and target",
    )
    parser.add_argument(
        "--list", action="store_true", help="list the cases and contenders, and measure nothing"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all values to this file")
    return parser.parse_args()


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def chosen(only):
    """Returns the names of the cases that `--only` asks for; all if it was not given."""
    wanted = [part.lower() for part in only]
    names = [name for name in CASES if not wanted or any(part in name.lower() for part in wanted)]
    if not names:
        sys.exit(f"error: no case's name contains {' or '.join(map(repr, only))}; --list shows them")
    return names


def hold(entries, rounds, time):
    for entry in entries:
        say(f"how much work: {entry.case.name}, {entry.contender.name}")
        entry.attempt(entry.calibrate, time)
    for number in range(1, rounds + 1):
        say(f"round {number} of {rounds}")
        for entry in entries:
            entry.attempt(entry.round)


def report(facts, results):
    """Returns the content of the table, and all values from which it was computed."""
    rows = []
    for result in results:
        standard = reference(results, result)
        figure = result.figure
        rows.append(
            {
                "case": result.case,
                "figure": figure.name,
                "contender": result.contender,
                "unit": figure.unit,
                "values": result.values,
                "median": result.median if result.values else None,
                "times_as_good": ratio(result, standard),
                "target_times": figure.times if has_target(result) else None,
                "target_margin": figure.margin if has_target(result) else None,
                "met": reached(result, standard),
                "failure": result.failure or None,
            }
        )
    return {"facts": facts, "results": rows}


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

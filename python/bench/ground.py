#!/usr/bin/env python3
"""Measures the basis of everything else, and prints one table: the cost of asking whether processes are
alive, of forks, of idle processes, of waiting for a lock, of a crash, and of the address space.

Rounds are the outermost loop, and each measurement is a program of its own. A row is the median of the
rounds. `--earlier FOLDER` also measures another build of the package, in that folder. Progress goes to
standard error.

Keep the machine idle while this runs.
"""

import argparse
import json
import os
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

from ground_cases import CASES, EARLIER, OWN, STANDARD, Skipped, measure_here
from machine import describe
from measure import Failure, guard, in_session
from table import align, number, shortened

# A measurement that takes more seconds than this hangs.
LIMIT = 300

HEAD = ("what", STANDARD, EARLIER, OWN, "target")


class Results:
    """A list of values for each case, figure and contender, and the reasons for missing values."""

    def __init__(self):
        self.values = defaultdict(list)
        self.failures = {}

    def median(self, case, figure, contender):
        """Returns the median; `None` if it is unknown."""
        values = self.values[case, figure, contender]
        return median(values) if values else None

    def knows(self, contender):
        """Returns whether any value of a contender was measured."""
        return any(values for (_, _, whose), values in self.values.items() if whose == contender)


def main():
    options = parse()
    cases = chosen(options.only)
    if options.list:
        print("\n".join(case.name for case in cases))
        return 0
    facts = describe("fork")
    facts["rounds"] = f"{options.rounds}, everything in each"
    if options.quick:
        facts["quick"] = "with less work, so take the figures as a first impression"
    results = Results()
    for turn in range(1, options.rounds + 1):
        for case in cases:
            for contender in contenders(options):
                say(f"round {turn} of {options.rounds}: {case.name}, {contender}")
                attempt(case, contender, options, results)
    for name, value in facts.items():
        print(f"* {name}: {value}")
    if options.markdown:
        text, met = table(cases, results)
        print(f"\n{text}\n\n{sum(met)} of {len(met)} targets met")
    else:
        print(f"\n{short(cases, results)}")
    if options.json:
        options.json.write_text(json.dumps(report(facts, results), indent=2, ensure_ascii=False) + "\n")
    return 1 if any(not skipped for skipped, _ in results.failures.values()) else 0


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="number of rounds")
    parser.add_argument("--quick", action="store_true", help="do less work, to see that it runs")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="measure only cases whose name contains this text (ignores case; may be repeated); see --list",
    )
    parser.add_argument("--package", default=OWN, help="the package to measure (default: %(default)s)")
    parser.add_argument(
        "--earlier", type=Path, metavar="FOLDER", help="the folder of an earlier build of the package"
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=LIMIT,
        metavar="SECONDS",
        help="time limit of a measurement; after it the measurement counts as a hang (default: %(default)s)",
    )
    parser.add_argument(
        "--markdown", action="store_true", help="print a Markdown table with ranges and targets"
    )
    parser.add_argument("--list", action="store_true", help="list the cases, and measure nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all values to this file")
    return parser.parse_args()


def chosen(only):
    """Returns the cases that `--only` asks for; all if it was not given."""
    cases = [case for case in CASES if not only or any(part.lower() in case.name.lower() for part in only)]
    if not cases:
        sys.exit(f"error: no case's name contains {' or '.join(map(repr, only))}; --list shows them")
    return cases


def contenders(options):
    return [STANDARD, EARLIER, OWN] if options.earlier else [STANDARD, OWN]


def attempt(case, contender, options, results):
    """Measures a case once more, unless that has failed before: a hang takes minutes, and once is enough."""
    if (case.name, contender) in results.failures:
        return
    package = "" if contender == STANDARD else options.package
    command = [
        sys.executable,
        __file__,
        "--measure",
        case.name,
        package,
        "quick" if options.quick else "full",
    ]
    environment = dict(os.environ)
    if contender == EARLIER:
        environment["PYTHONPATH"] = str(options.earlier.absolute())
    try:
        answer = in_session(command, options.limit, environment)
        if "skipped" in answer:
            raise Skipped(answer["skipped"])
    except (Failure, Skipped) as failure:
        results.failures[case.name, contender] = isinstance(failure, Skipped), str(failure)
        say(f"{case.name}, {contender}: {failure}")
        return
    for figure, value in answer.items():
        results.values[case.name, figure, contender].append(value)


def short(cases, results):
    """Returns a line for each figure: the medians, and the ratio of ours to the standard library's."""
    shown = [one for one in HEAD[1:4] if one != EARLIER or results.knows(EARLIER)]
    lines = [short_line("", *shown, "ours/std")]
    for case in cases:
        for figure in case.figures:
            values = [results.median(case.name, figure.name, contender) for contender in shown]
            theirs, *_, ours = values
            share = number(ours / theirs) if ours is not None and theirs else ""
            medians = ["" if value is None else number(value) for value in values]
            what = shortened(f"{case.name}: {figure.name} ({figure.unit or 'number'})", 50)
            lines.append(short_line(what, *medians, share))
    return "\n".join([*lines, "", "`--markdown` prints ranges and targets too."])


def short_line(what, theirs, *others):
    return f"{what:<50}{theirs:>17}{''.join(f'{other:>11}' for other in others)}".rstrip()


def table(cases, results):
    """Returns all results as a Markdown table, and for each target whether it is met."""
    lines = [HEAD, ("---", "---:", "---:", "---:", "---")]
    met = []
    for case in cases:
        for figure in case.figures:
            cells = [cell(results, case, figure, contender) for contender in HEAD[1:4]]
            remarks = []
            for goal in figure.goals:
                verdict = goal.reached(results, case, figure)
                word = {None: "not measured", True: "met", False: "**missed**"}[verdict]
                remarks.append(f"{word} ({goal.text(figure)})")
                if verdict is not None:
                    met.append(verdict)
            if figure is case.figures[0]:
                remarks += reasons(results, case)
            lines.append((f"{case.name}: {figure.name}", *cells, "; ".join(remarks)))
    return align_cells(lines), met


def reasons(results, case):
    """Returns the reasons for missing values, with the contenders."""
    whose = defaultdict(list)
    for contender in HEAD[1:4]:
        if (case.name, contender) in results.failures:
            _, reason = results.failures[case.name, contender]
            whose[shortened(reason).replace("|", " ")].append(contender)
    return [f"{', '.join(names)}: {reason}" for reason, names in whose.items()]


def align_cells(lines):
    """Aligns the cells, without the column of the earlier build if it is empty."""
    if not any(line[2] for line in lines[2:]):
        lines = [line[:2] + line[3:] for line in lines]
    return align(lines, [mark == "---:" for mark in lines[1]])


def cell(results, case, figure, contender):
    values = results.values[case.name, figure.name, contender]
    if not values:
        return "-" if (case.name, contender) in results.failures else ""
    text = f"{number(median(values))} {figure.unit}".strip()
    return f"{text} ({number(min(values))} to {number(max(values))})" if len(values) > 1 else text


def report(facts, results):
    """Returns the content of the table, and all values from which it was computed."""
    rows = [
        {"case": case, "figure": figure, "contender": contender, "values": values}
        for (case, figure, contender), values in results.values.items()
        if values
    ]
    failures = [
        {"case": case, "contender": contender, "skipped": skipped, "reason": reason}
        for (case, contender), (skipped, reason) in results.failures.items()
    ]
    return {"facts": facts, "results": rows, "failures": failures}


def say(text):
    print(text, file=sys.stderr, flush=True)


def measure_and_tell(name, package, work):
    """Makes one measurement in this program, and prints its figures as JSON."""
    try:
        answer = measure_here(name, package, quick=work == "quick")
    except Skipped as reason:
        answer = {"skipped": str(reason)}
    print(json.dumps(answer))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        guard()
        measure_and_tell(*sys.argv[2:])
    else:
        sys.exit(main())

"""The short table, for a terminal: ours, the best rival, and how many times better ours is."""

from contenders import PROCESSION
from table import number, ratio, shortened, usable

# Characters of a cell, at most; a line has at most 100.
WIDTHS = (48, 16, 12, 16)
HEAD = ("", "ours", "", "best rival", "ratio")

NOTE = """\
ratio: how many times better ours is. `--markdown` prints all contenders, ranges and targets."""


def short(results):
    """Returns a line for each figure of each case."""
    own = [result for result in results if result.contender == PROCESSION]
    return "\n".join([line(HEAD), *(line(row(results, result)) for result in own), "", NOTE])


def row(results, result):
    figure = result.figure
    what = f"{result.case}, {figure.name}" if figure.name else result.case
    rival = best_rival(results, result)
    times = ratio(result, rival)
    return (
        what,
        f"{number(result.median)} {figure.unit}" if usable(result) else "failed",
        number(rival.median) if rival else "",
        rival.contender if rival else "",
        "" if times is None else number(times),
    )


def best_rival(results, result):
    """Returns the best result of the other contenders; `None` if they have none."""
    rivals = [
        other
        for other in results
        if (other.case, other.figure) == (result.case, result.figure)
        and other.contender != PROCESSION
        and usable(other)
    ]
    best = min if result.figure.less_is_better else max
    return best(rivals, key=lambda other: other.median, default=None)


def line(cells):
    """Returns cells as a line, with names aligned to the left and numbers to the right."""
    what, ours, rival, whose = (shortened(cell, width) for cell, width in zip(cells, WIDTHS, strict=False))
    name, own, other, who = WIDTHS
    return f"{what:<{name}}{ours:>{own}}{rival:>{other}} {whose:<{who}}{cells[4]:>6}".rstrip()

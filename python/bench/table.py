"""The long table, in Markdown."""

from contenders import PROCESSION, STANDARD

HEAD = ("what", "contender", "median", "range", "times as good", "target")
RIGHT = (False, False, True, True, True, False)


def table(results):
    """Returns all results as a Markdown table, and the number of targets that are met."""
    lines = [HEAD, tuple("---:" if right else "---" for right in RIGHT)]
    verdicts = []
    for result in results:
        standard = reference(results, result)
        met = reached(result, standard)
        lines.append(row(result, standard, met))
        if met is not None:
            verdicts.append(met)
    return f"{align(lines, RIGHT)}\n\n{sum(verdicts)} of {len(verdicts)} targets met"


def row(result, standard, met):
    figure = result.figure
    what = f"{result.case}, {figure.name}" if figure.name else result.case
    remarks = [verdict(result, standard, met)] if has_target(result) else []
    if result.failure:
        remarks.append(shortened(result.failure))
    if result.failure or not result.values:
        value, span = ("hang" if result.failure.startswith("hang") else "-"), ""
    else:
        value = f"{number(result.median)} {figure.unit}"
        span = f"{number(min(result.values))} to {number(max(result.values))}"
    times = ratio(result, standard)
    return (
        what,
        result.contender,
        value,
        span,
        "reference" if result is standard else "" if times is None else number(times),
        "; ".join(remarks).replace("|", " "),
    )


def shortened(text, most=80):
    return text if len(text) <= most else f"{text[: most - 1]}…"


def reference(results, result):
    """Returns the standard library's result for the same figure."""
    for other in results:
        if (other.case, other.figure, other.contender) == (result.case, result.figure, STANDARD):
            return other
    return None


def ratio(result, standard):
    """Returns how many times better than the standard library it is (above 1 is better); `None` if
    unknown.
    """
    if not usable(result) or not usable(standard):
        return None
    own, other = result.median, standard.median
    return other / own if result.figure.less_is_better else own / other


def usable(result):
    return result is not None and bool(result.values) and not result.failure


def has_target(result):
    figure = result.figure
    return result.contender == PROCESSION and (figure.times is not None or figure.margin is not None)


def reached(result, standard):
    """Returns whether the target is met; `None` if there is no target or no value."""
    times = ratio(result, standard)
    if times is None or not has_target(result):
        return None
    if result.figure.margin is not None:
        return result.median <= standard.median + result.figure.margin
    return times >= result.figure.times


def verdict(result, standard, met):
    figure = result.figure
    if figure.margin is not None:
        goal = f"≤ {STANDARD} + {number(figure.margin)} {figure.unit}"
    else:
        goal = f"≥ {number(figure.times)} ×"
    word = {None: "not measured", True: "met", False: "**missed**"}[met]
    return f"{word} ({goal})"


def number(value):
    """Returns a number as text with three significant digits."""
    size = abs(value)
    if size >= 100 or (size == int(size) and size < 1e6):
        return f"{value:.0f}"
    return f"{value:.{1 if size >= 10 else 2 if size >= 1 else 3}f}"


def align(lines, right_columns):
    """Fills the cells of each column to one width, so that the table is readable as plain text too."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "| "
        + " | ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, right_columns, strict=True)
        )
        + " |"
        for line in lines
    )

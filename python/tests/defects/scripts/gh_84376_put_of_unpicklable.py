"""#84376: `put` of an object that cannot be pickled returns as if nothing were wrong, and the item is lost.

Right: with `strict=True` it raises. Without, the hook is called, as programs expect, and the slot is free
again.
"""

from _common import PATIENCE, check, ctx, right, sub, within, wrong


class Sour:
    def __reduce__(self):
        raise ArithmeticError("this cannot be pickled")


def main():
    try:
        queue = ctx.Queue(1, strict=True)
    except TypeError:
        queue = ctx.Queue(1)
    try:
        queue.put(Sour())
    except ArithmeticError:
        pass
    else:
        wrong("put of an object that cannot be pickled has returned")
    try:
        queue.put(lambda: None)
    except Exception:
        pass
    else:
        wrong("put of a lambda has returned")
    queue.put("bun", True, PATIENCE)
    got = within(queue.get, what="get after a put that failed")
    check(got == "bun", f"got {got!r}")

    reports = []

    class Reporting(sub("queues").Queue):
        @staticmethod
        def _on_queue_feeder_error(error, item):
            reports.append((error, item))

    queue, sour = Reporting(1, ctx=ctx), Sour()
    queue.put(sour)
    queue.put("bun", True, PATIENCE)
    got = within(queue.get, what="get after a put that was dropped")
    check(got == "bun", f"got {got!r}")
    check(len(reports) == 1, f"the hook was called {len(reports)} times")
    check(
        isinstance(reports[0][0], ArithmeticError) and reports[0][1] is sour,
        f"the hook was told {reports[0]}",
    )
    right()


if __name__ == "__main__":
    main()

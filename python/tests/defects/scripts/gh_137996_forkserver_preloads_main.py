"""#137996: `set_forkserver_preload(["__main__"])` does nothing: each child imports `__main__` anew."""

import os

IMPORTED_IN = os.getpid()


def child(answer):
    answer.send((IMPORTED_IN, os.getpid(), os.getppid()))


def main():
    # Not above: the fork server may import this file with no arguments and another search path.
    from _common import PATIENCE, check, mp, received, right

    ctx = mp.get_context("forkserver")
    ctx.set_forkserver_preload(["__main__"])
    for _ in range(2):
        mine, theirs = ctx.Pipe()
        process = ctx.Process(target=child, args=(theirs,), daemon=True)
        process.start()
        imported_in, itself, server = received(mine, "the child")
        process.join(PATIENCE)
        check(
            imported_in != itself,
            "the child has imported __main__ itself, though the fork server was to preload it",
        )
        check(imported_in == server, f"{imported_in} has imported __main__, not the fork server, {server}")
    right()


if __name__ == "__main__":
    main()

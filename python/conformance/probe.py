"""Starts processes with one method and asks each which `multiprocessing` it sees: `probe.py METHOD FILE`.

They answer by appending to FILE, so that an answer needs nothing of what is being tested.
"""

import sys

WHO = ["parent", "child", "grandchild", "worker"]


def answer(path, who):
    import multiprocessing
    import multiprocessing.connection as connection
    import multiprocessing.queues

    import procession

    name = multiprocessing.__name__
    same = (
        multiprocessing is procession
        and multiprocessing.queues is procession.queues
        and connection is sys.modules.get("procession.connection")
    )
    with open(path, "a") as file:
        print(who, name if same else f"{name}, not one with procession", file=file)


def child(path, method):
    import multiprocessing

    answer(path, "child")
    process = multiprocessing.get_context(method).Process(target=answer, args=(path, "grandchild"))
    process.start()
    process.join()


def main(method, path):
    import multiprocessing

    answer(path, "parent")
    context = multiprocessing.get_context(method)
    process = context.Process(target=child, args=(path, method))
    process.start()
    process.join()
    with context.Pool(1) as pool:
        pool.apply(answer, (path, "worker"))

    with open(path) as file:
        answers = dict(line.rstrip("\n").split(" ", 1) for line in file)
    wrong = [f"{who}: {answers.get(who, 'no answer')}" for who in WHO if answers.get(who) != "procession"]
    if wrong:
        sys.exit("multiprocessing is not procession: " + "; ".join(wrong))


if __name__ == "__main__":
    main(*sys.argv[1:])

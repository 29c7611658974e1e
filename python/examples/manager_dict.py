"""A dict, a list and a namespace that live in a manager's process and are shared by all others.

Each call on them is safe. Reading and then writing is two calls, so it needs a lock.
"""

import argparse
import multiprocessing

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "and", "the", "cat"]
WORKERS = 4


def count(number, words, counts, log, state, lock):
    for word in words:
        with lock:
            counts[word] = counts.get(word, 0) + 1
    log.append(f"worker {number} counted {len(words)} words")
    with lock:
        state.finished += 1


def main():
    with multiprocessing.Manager() as manager:
        counts = manager.dict()
        log = manager.list()
        state = manager.Namespace(finished=0, title="word counts")
        lock = manager.Lock()

        workers = [
            multiprocessing.Process(target=count, args=(n, WORDS[n::WORKERS], counts, log, state, lock))
            for n in range(WORKERS)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

        print(f"{state.title}, by {state.finished} workers")
        for word, times in sorted(counts.items()):
            print(f"{word}: {times}")
        for line in sorted(log):
            print(line)
        print("fox" in counts, "cow" in counts, len(counts), counts.get("cow"))

        # A plain list inside a shared dict is a copy: changing it changes nothing. A shared one does.
        nested = manager.dict(plain=[1], shared=manager.list([1]))
        nested["plain"].append(2)
        nested["shared"].append(2)
        print("plain:", nested["plain"], "shared:", list(nested["shared"]))
        try:
            counts["cow"]
        except KeyError as error:
            print("no such word:", error)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Data shared through a manager.")
    parser.add_argument("--method", choices=multiprocessing.get_all_start_methods())
    method = parser.parse_args().method
    if method:
        multiprocessing.set_start_method(method)
    main()

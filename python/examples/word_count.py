"""Map and reduce: count the words of some books, each worker with its own share of them.

With the standard library a worker that has put more than a pipe can hold cannot end before its results are
taken out. So the parent first gets all results, and then joins the workers.
"""

import argparse
import collections
import multiprocessing
import random

BOOKS = 9
WORDS_IN_A_BOOK = 8000
WORKERS = 3


def write_book(number):
    """Make up a book; the same number gives the same book every time."""
    author = random.Random(number)
    syllables = [consonant + vowel for consonant in "bdfgklmnprst" for vowel in "aeiou"]
    vocabulary = ["".join(author.choices(syllables, k=author.randint(1, 4))) for _ in range(5000)]
    common = author.choices(syllables, k=20)
    words = author.choices(vocabulary, k=WORDS_IN_A_BOOK) + author.choices(common, k=WORDS_IN_A_BOOK // 4)
    author.shuffle(words)
    return " ".join(words)


def map_books(books, results):
    """Count each of the books."""
    for number, text in books:
        results.put((number, collections.Counter(text.split())))
    results.put(None)


def main():
    books = [(number, write_book(number)) for number in range(BOOKS)]
    results = multiprocessing.Queue()
    workers = [
        multiprocessing.Process(target=map_books, args=(books[n::WORKERS], results)) for n in range(WORKERS)
    ]
    for worker in workers:
        worker.start()

    total = collections.Counter()
    counted = []
    working = len(workers)
    while working:
        result = results.get()
        if result is None:
            working -= 1
        else:
            number, counts = result
            total += counts
            counted.append(number)
    for worker in workers:
        worker.join()

    print("books:", sorted(counted))
    print(f"{total.total()} words, {len(total)} different ones")
    for word, times in sorted(total.items(), key=lambda item: (-item[1], item[0]))[:5]:
        print(f"{word}: {times}")
    print("nothing lost:", total == collections.Counter(word for _, text in books for word in text.split()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Count words by map and reduce.")
    parser.add_argument("--method", choices=multiprocessing.get_all_start_methods())
    method = parser.parse_args().method
    if method:
        multiprocessing.set_start_method(method)
    main()

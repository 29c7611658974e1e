"""Unrelated programs that talk through a socket.

A `Listener` waits at an address. Clients that know the key may connect, from any program. The server answers
each until it leaves. A client with another key is rejected.
"""

import argparse
import multiprocessing
from multiprocessing.connection import Client, Listener

KEY = b"salt and sugar"


def serve(listener, visits):
    """Answers a number of clients, one after the other."""
    for _ in range(visits):
        try:
            conn = listener.accept()
        except multiprocessing.AuthenticationError:
            print("somebody without the key was turned away")
            continue
        with conn:
            try:
                while True:
                    dish, count = conn.recv()
                    conn.send(f"{count} x {dish}")
            except EOFError:
                pass


def visit(address, orders):
    """Runs as a client: sends its orders, and prints the answers."""
    with Client(address, authkey=KEY) as conn:
        for order in orders:
            conn.send(order)
            print(conn.recv())


def intrude(address):
    """Runs as a client that does not know the key."""
    try:
        Client(address, authkey=b"pepper")
    except (multiprocessing.AuthenticationError, EOFError, ConnectionError):
        pass


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--method", choices=multiprocessing.get_all_start_methods())
    method = parser.parse_args().method
    if method:
        multiprocessing.set_start_method(method)

    guests = [
        (visit, [("bun", 3), ("tea", 1)]),
        (intrude,),
        (visit, [("rice", 2)]),
    ]
    with Listener(authkey=KEY) as listener:
        for target, *rest in guests:
            process = multiprocessing.Process(target=target, args=(listener.address, *rest))
            process.start()
            serve(listener, 1)
            process.join()


if __name__ == "__main__":
    main()

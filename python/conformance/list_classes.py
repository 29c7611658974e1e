"""Prints the classes of the suite and their tests, as one object of JSON."""

import json
import unittest

import suite_fork


def is_test_class(thing):
    return isinstance(thing, type) and issubclass(thing, unittest.TestCase)


if __name__ == "__main__":
    classes = [thing for thing in vars(suite_fork).values() if is_test_class(thing)]
    names = unittest.TestLoader().getTestCaseNames
    print(json.dumps({each.__name__: names(each) for each in classes}))

"""Each program in `examples/` behaves the same with and without `python -m procession`, in every start
method.
"""

import pathlib

import pytest

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent / "examples"
METHODS = ["fork", "spawn", "forkserver"]
SMOKE = [("bounded_queue", "fork"), ("joinable_daemons", "fork"), ("tickets", "fork")]

# Those that are not zero.
EXIT_CODES = {"exit_codes": 6}
# Those that write to standard error on purpose.
NOISY = {"exit_codes"}


def cases():
    found = []
    for script in sorted(EXAMPLES.glob("*.py")):
        for method in METHODS:
            marks = [pytest.mark.smoke] if (script.stem, method) in SMOKE else []
            found.append(pytest.param(script, method, marks=marks, id=f"{script.stem}-{method}"))
    return found


@pytest.mark.parametrize("script, method", cases())
def test_same_as_without(run_script, script, method):
    expected = run_script(script, "--method", method)
    actual = run_script(script, "--method", method, module="procession")
    if actual.litter:  # by another program? It is not likely to happen twice.
        actual = run_script(script, "--method", method, module="procession")

    assert expected.stdout
    assert expected.returncode == EXIT_CODES.get(script.stem, 0), expected.stderr
    assert bool(expected.stderr) == (script.stem in NOISY), expected.stderr

    assert actual.stdout == expected.stdout, actual.stderr
    assert without_frames(actual.stderr) == without_frames(expected.stderr)
    actual.check(expected.returncode)


def without_frames(text):
    """Removes the frames of tracebacks: there may be other functions in between, and they are in other
    files.
    """
    return [line for line in text.splitlines() if not line.startswith(" ")]


def test_every_example_is_in_the_list():
    listed = (EXAMPLES / "README.md").read_text()
    missing = [script.name for script in EXAMPLES.glob("*.py") if f"]({script.name})" not in listed]
    assert not missing


def test_smoke_names_examples():
    assert all((EXAMPLES / f"{name}.py").exists() and method in METHODS for name, method in SMOKE)

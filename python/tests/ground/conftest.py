"""The fixture `program` of these tests."""

import pathlib
import textwrap

import pytest

FOLDER = pathlib.Path(__file__).parent

BEGIN = f"""\
import sys
sys.path.insert(0, {str(FOLDER)!r})
from ground_helpers import *
"""


@pytest.fixture
def program(run_script, tmp_path):
    """Return a function that runs a program, which begins with `ground_helpers`, prints `ok` and ends with code 0:

        program(text, *args, timeout=60, env=None)

    A program that says why it cannot be run here is a test that is skipped.
    """

    def program(text, *args, **options):
        file = tmp_path / "program.py"
        file.write_text(BEGIN + textwrap.dedent(text))
        result = run_script(file, *args, **options)
        said = result.stdout.strip().rpartition("\n")[2]
        if result.returncode == 0 and said.startswith("skipped: "):
            pytest.skip(said)
        assert result.returncode == 0 and said == "ok", (
            f"exit code {result.returncode}\n{result.stdout}\n{result.stderr}"
        )
        assert not result.survivors, "processes are left"
        return result

    return program

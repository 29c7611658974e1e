"""The machine and the versions with which the figures were measured."""

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from contenders import CONTENDERS


def describe(method):
    """Returns the facts that are printed beside the figures, by name."""
    load = " ".join(f"{each:.2f}" for each in os.getloadavg())
    return {
        "machine": f"{processor()}, {os.cpu_count()} processors, {platform.system()} {platform.release()}",
        "load average": f"{load} at the start",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "commit": commit(),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "start method": method,
        "packages": ", ".join(packages()),
    }


def packages():
    for contender in CONTENDERS.values():
        if contender.distribution:
            unknown = "of an unknown version" if contender.present() else "absent"
            yield f"{contender.name} {contender.version() or unknown}"
    try:
        yield f"numpy {importlib.metadata.version('numpy')}"
    except importlib.metadata.PackageNotFoundError:
        yield "numpy absent"


def processor():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def commit():
    known = git("rev-parse", "--short=12", "HEAD")
    if known is None:
        return "unknown"
    return f"{known} and changes not committed" if git("status", "--porcelain") else known


def git(*arguments):
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()

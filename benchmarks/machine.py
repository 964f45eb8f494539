"""Says which machine, interpreter and package versions a figure belongs to.

Run with another interpreter (``python -m benchmarks.machine``) it prints that one's versions
as JSON, so it imports only the standard library.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "zfut": "zfut",
    "zmq": "pyzmq",
    "msgspec": "msgspec",
    "numpy": "numpy",
    "ray": "ray",
    "distributed": "distributed",
    "xoscar": "xoscar",
}


def describe() -> dict[str, Any]:
    """The machine, and how busy it is at this moment."""
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "dev_shm_bytes": _dev_shm_bytes(),
        "kernel": platform.release(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str | None]:
    """Version of each package that this interpreter can import; None where it cannot."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for module, package in PACKAGES.items():
        found[module] = _version(module, package)
    return found


def versions_of(python: str) -> dict[str, str | None]:
    """The same for another interpreter, asked in a process of its own."""
    if Path(python).absolute() == Path(sys.executable).absolute():
        return versions()
    done = subprocess.run(  # noqa: S603 - the interpreter the user named
        [python, "-m", "benchmarks.machine"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answer: dict[str, str | None] = json.loads(done.stdout)
    return answer


def _version(module: str, package: str) -> str | None:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:  # a bare directory of that name is no package
        return None
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed as a package"


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _dev_shm_bytes() -> int | None:
    return shutil.disk_usage("/dev/shm").total if Path("/dev/shm").is_dir() else None  # noqa: S108


if __name__ == "__main__":
    sys.stdout.write(json.dumps(versions()) + "\n")

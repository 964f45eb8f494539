"""``get(f.remote(1))`` has the right type, keyword arguments included, and wrong calls have none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parent / "typed_program.py"


def mypy(path: Path, cache: Path) -> list[str]:
    done = subprocess.run(  # noqa: S603  this very interpreter
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--config-file=",
            "--cache-dir",
            str(cache),
            str(path),
        ],
        cwd=PROGRAM.parent.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return [line for line in done.stdout.splitlines() if "error:" in line and path.name in line]


def test_every_line_has_the_type_that_it_says(tmp_path: Path) -> None:
    assert mypy(PROGRAM, tmp_path / "cache") == []
    text = PROGRAM.read_text()
    wrong = text.partition('WRONG = """\n')[2].removesuffix('"""\n')
    program = tmp_path / "wrong_program.py"
    program.write_text(f"{text}\n{wrong}")
    errors = mypy(program, tmp_path / "cache")
    lines = {int(line.split(":")[1]) for line in errors}
    first = text.count("\n") + 2
    assert lines == set(range(first, first + wrong.count("\n"))), errors

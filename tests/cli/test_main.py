"""The command as a whole: help, suggestions, errors, exit codes, and what it imports."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import zfut as package
from cli import main, options
from cli.failures import CommandError, code_of
from tests.cli.commands import COMMAND, ROOT
from zfut import errors


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main.run(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", ["", *main.COMMANDS])
def test_help_is_everywhere(
    command: str, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(*command.split(), flag, capsys=capsys)
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: zfut {command}".rstrip())
    assert all(len(line) <= 100 for line in out.splitlines())
    if not command:
        assert all(name in out for name in main.COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version", capsys=capsys) == (0, f"zfut {package.__version__}\n", "")


@pytest.mark.parametrize(
    ("typed", "meant"), [("stpo", "stop"), ("start", "start-node"), ("doctr", "doctor")]
)
def test_an_unknown_command_suggests(
    typed: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(typed, capsys=capsys)
    assert (code, out) == (2, "")
    assert f"No such command {typed!r}. Did you mean {meant!r}?" in err


def test_a_command_like_nothing_suggests_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("zzzzzz", capsys=capsys)
    assert code == 2
    assert "mean" not in err


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let ``zfut status`` raise ``error``."""

    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr("cli.status.find", fail)


def test_what_nobody_expected_is_one_line_with_a_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, KeyError("x"))
    code, out, err = run("status", capsys=capsys)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "unexpected KeyError: 'x'" in err
    assert "zfut --debug" in err


def test_with_debug_it_is_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, KeyError("x"))
    with pytest.raises(KeyError):
        main.run(["--debug", "status"])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandError("x", 6), 6),
        (errors.AuthenticationError("a node"), 4),
        (errors.VersionMismatchError("a node", 1, 2), 5),
        (errors.GetTimeoutError(1, 1, 5.0), 7),
        (errors.UsageError("x"), 2),
        (errors.SessionError("x"), 1),
        (click.UsageError("x"), 2),
        (click.Abort(), 130),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(
    error: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(monkeypatch, error)
    got, out, err = run("status", capsys=capsys)
    assert (got, out) == (code, "")
    if isinstance(error, errors.ZfutError):
        assert err == f"zfut: {error}\n"
        assert code_of(error) == code


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{' '.join(COMMAND)} --help | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(  # noqa: S603
        ["/bin/bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr


@pytest.mark.parametrize("arguments", [[], ["--help"], ["start-node", "-h"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from cli import main; main.run(sys.argv[1:]);"
        "print(sorted({'zmq', 'numpy', 'pyarrow', 'cloudpickle', 'msgspec', 'psutil'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("no_color", "terminal", "colourful"),
    [("", True, True), ("1", True, False), ("", False, False)],
)
def test_colour_is_for_terminals_that_want_it(
    monkeypatch: pytest.MonkeyPatch,
    no_color: str,
    terminal: bool,  # noqa: FBT001
    colourful: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setattr("cli.checks.machine", list)
    runner = CliRunner(env={"NO_COLOR": no_color})
    done = runner.invoke(main.group, ["doctor"], color=terminal)
    assert done.exit_code == 0
    assert ("\x1b[" in done.stdout) is colourful


@pytest.mark.skipif(
    importlib.util.find_spec("zfut_cli") is None, reason="zfut is not installed here"
)
def test_the_installed_command_is_this_one() -> None:
    command = shutil.which("zfut", path=str(Path(sys.executable).parent))
    assert command is not None
    done = subprocess.run(  # noqa: S603
        [command, "--version"], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout == f"zfut {package.__version__}\n"


# ------------------------------------------------------------------ signals


@pytest.mark.parametrize("early", [True, False], ids=["before", "inside"])
def test_a_signal_ends_a_wait_that_may_be_interrupted(early: bool) -> None:  # noqa: FBT001
    code = f"""
import os, select, signal
from cli.supervisor import Signals, Told
kill = lambda: os.kill(os.getpid(), signal.SIGTERM)
with Signals() as signals:
    assert not select.select([signals.fd], [], [], 0)[0]
    if {early}:
        kill()
    try:
        with signals.interrupting():
            kill()
            print("went on")
    except Told:
        print("told", signals.count, signals.first == signal.SIGTERM)
    kill()
    print("outside it only counts", signals.count)
    assert select.select([signals.fd], [], [], 0)[0]
    signals.clear()
    assert not select.select([signals.fd], [], [], 0)[0]
kill()
print("afterwards it means nothing")
"""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "told 1 True",
        "outside it only counts 2",
        "afterwards it means nothing",
    ]


# ------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("1", 1),
        ("2GiB", 2 << 30),
        ("1.5 GiB", 3 << 29),
        ("500MB", 500_000_000),
        ("4k", 4096),
        ("3g", 3 << 30),
        ("1TiB", 1 << 40),
        ("50%", 512),
        ("100%", 1024),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert options.size(text).of(1024) == size_bytes


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "1XB", "0%", "101%", "GiB", "1e9", "1 2", "inf"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no size"):
        options.size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15s", 15.0), ("500ms", 0.5), ("2m", 120.0), ("1h", 3600.0), ("0", 0.0), (".5", 0.5)],
)
def test_times(text: str, seconds: float) -> None:
    assert options.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1d", "inf"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no time"):
        options.seconds(text)


def test_pairs() -> None:
    assert options.pair("a = b=c ") == ("a", "b=c")
    for text in ("", "a", "=b", "a="):
        with pytest.raises(click.BadParameter, match="is no pair"):
            options.pair(text)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "0.977 KiB"),
        (1 << 30, "1 GiB"),
        (9.06 * (1 << 30), "9.06 GiB"),
        (1 << 60, "1.05e+06 TiB"),
    ],
)
def test_sizes_for_a_person(size_bytes: float, text: str) -> None:
    assert options.size_text(size_bytes) == text

"""What a seed or a scenario shows while a rule is broken, and whether that counts.

What counts as seen: a Violation; an assertion in the ``check`` of a machine; another line
that user code sees.  Anything else that is raised is a mistake of the mutant, or of the
simulator, and is raised here, too: a mutant that cannot run shows nothing about the rule.
"""

from __future__ import annotations

import re
from pathlib import Path
from traceback import walk_tb
from types import CodeType

from msgspec import Struct

import zfut.core
import zfut.sim.script
from zfut.sim.arena import Violation
from zfut.sim.run import run_seed
from zfut.sim.script import Script

SCENARIOS = Path(__file__).parent.parent / "scenarios"
CORE = str(Path(zfut.core.__file__).parent)
SCRIPT = zfut.sim.script.__file__

STEPS = 5_000
"""A program whose rules hold takes fewer turns, in the seeds that are named."""

SEEN = re.compile(r"^  \S+ (?:gets|sees) .*|^nothing is left$", re.MULTILINE)
"""What user code sees in a transcript: what it got, which error, and that it was answered."""


class Told(Struct):
    """A scenario as it was told: what it printed, and the check that ended it, if one did.

    ``refused``: a command named a process that has nothing to do.  That alone proves nothing:
    the work may be elsewhere, so what is missing must be said by an expectation.
    """

    transcript: str = ""
    broken: str = ""
    refused: bool = False

    def shows(self, right: Told) -> bool:
        """Whether a check failed, or user code saw something else than in the ``right`` one."""
        return not self.refused and bool(self.broken or self.seen() != right.seen())

    def seen(self) -> list[str]:
        """Return what user code saw, in order."""
        return SEEN.findall(self.transcript)


def frames(error: BaseException) -> list[CodeType]:
    """Return the functions that an error came through, the innermost last."""
    return [frame.f_code for frame, _ in walk_tb(error.__traceback__)]


def is_a_find(error: BaseException) -> bool:
    """Whether an error is a check that failed, not a mistake of the mutant or the simulator."""
    if isinstance(error, Violation):
        return True
    through = frames(error)
    checks = any(code.co_name == "check" for code in through)
    in_core = through[-1].co_filename.startswith(CORE)
    return isinstance(error, AssertionError) and checks and in_core


def is_refused(error: BaseException) -> bool:
    """Whether user code could not do what a scenario's command says."""
    return isinstance(error, ValueError) and frames(error)[-1].co_filename == SCRIPT


def honest(error: Exception) -> str:
    """Describe a find of a seed; raise anything else."""
    if not is_a_find(error):
        raise error
    return f"{type(error).__name__}: {error}"


def first_catch(seeds: range, frees: float = 0.0, walks: float = 0.0) -> tuple[int, str]:
    """Return the first seed that breaks a rule, and how; needs ``honest`` in place."""
    for seed in seeds:
        violation = run_seed(seed, STEPS, frees, walks).violation
        if violation:
            return seed, violation
    return -1, ""


def tell(scenario: str) -> Told:
    """Tell a scenario anew, to its end or until a check fails; refused commands are skipped."""
    script, told = Script(), Told()
    for command in commands(scenario):
        try:
            told.transcript += script.run(command)
        except Exception as error:  # noqa: BLE001  honest() raises what is no find
            if is_refused(error):
                told.refused = True
                continue
            told.broken = honest(error)
            break
    return told


def commands(scenario: str) -> list[str]:
    """Return the commands of a scenario, without what they print."""
    blocks = (SCENARIOS / f"{scenario}.txt").read_text().strip().split("\n\n")
    given = [block.partition("\n----")[0] for block in blocks]
    return [line for lines in given for line in lines.split("\n") if not line.startswith("#")]

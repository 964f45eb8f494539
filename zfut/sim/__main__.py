"""``python -m zfut.sim --seeds 1000``: run seeds until one breaks a rule."""

from __future__ import annotations

import argparse
import sys
import time

from zfut.sim.run import TURNS_MAX, Outcome, run_seed
from zfut.sim.transcript import last_lines


def say(text: str) -> None:
    """Print, to whatever standard output is then."""
    sys.stdout.write(text)


def main(arguments: list[str] | None = None) -> int:
    """Run the seeds that the command line names. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m zfut.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--start", type=int, default=0, help="the first (default: 0)")
    parser.add_argument("--seed", type=int, default=None, help="only this one")
    parser.add_argument("--steps", type=int, default=TURNS_MAX, help="turns before giving up")
    parser.add_argument("--frees", type=float, default=0.0, help="chance of a free() (0 to 1)")
    parser.add_argument("--walks", type=float, default=0.0, help="chance of nested values")
    parser.add_argument("--opens", type=float, default=0.0, help="chance of slow arguments")
    parser.add_argument("--plain", action="store_true", help="without the newer faults")
    parser.add_argument("--lines", type=int, default=60, help="transcript lines to show")
    parser.add_argument("--keep-going", action="store_true", help="count every failing seed")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the transcript")
    given = parser.parse_args(arguments)
    if given.seed is not None:
        given.start, given.seeds = given.seed, 1
    began = time.perf_counter()
    events = failed = ran = 0
    for seed in range(given.start, given.start + given.seeds):
        chances = given.frees, given.walks, given.opens
        outcome = run_seed(seed, given.steps, *chances, wide=not given.plain)
        events += outcome.events
        ran += 1
        if outcome.violation:
            failed += 1
            _tell(outcome, given)
            if not given.keep_going:
                break
        elif given.verbose:
            say("\n".join(last_lines(outcome.cluster, given.lines)) + "\n")
    took = time.perf_counter() - began
    say(
        f"{ran} seeds, {failed} failed, {events} events in {took:.1f} s: "
        f"{ran / took:.1f} seeds/s, {events / took:,.0f} events/s\n"
    )
    return 1 if failed else 0


def _tell(outcome: Outcome, given: argparse.Namespace) -> None:
    if given.keep_going:
        say(f"seed {outcome.seed}: {outcome.violation.splitlines()[0][:150]}\n")
        return
    say("\n".join(last_lines(outcome.cluster, given.lines)) + "\n")
    say(f"\nseed {outcome.seed}: {outcome.violation}\n")
    frees = f" --frees {given.frees}" if given.frees else ""
    walks = f" --walks {given.walks}" if given.walks else ""
    opens = f" --opens {given.opens}" if given.opens else ""
    plain = " --plain" if given.plain else ""
    say(f"again: python -m zfut.sim --seed {outcome.seed}{frees}{walks}{opens}{plain}\n")


if __name__ == "__main__":
    sys.exit(main())

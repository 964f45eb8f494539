"""One seed: a cluster, programs and faults drawn from it, run to the end and looked at."""

from __future__ import annotations

from random import Random

from msgspec import Struct
from msgspec.structs import replace

from zfut.sim import invariants
from zfut.sim.arena import Violation, violate
from zfut.sim.cluster import Cluster
from zfut.sim.faults import Faults, draw_setting, widen
from zfut.sim.rings import a_program_waits_for_itself
from zfut.sim.workload import Workload

TURNS_MAX = 20_000
"""A program that takes longer than this does not end."""

ASIDE = 0x5EED_A51D
ASIDE_SEEDS, ASIDE_SHARE = 0.25, 0.5
"""In so many of the seeds so many of the waits of tasks are a coroutine's, or another thread's."""


class Outcome(Struct):
    """What became of a seed."""

    seed: int
    events: int
    violation: str
    cluster: Cluster


def run_seed(  # noqa: PLR0913  what the command's options say
    seed: int,
    turns_max: int = TURNS_MAX,
    frees: float = 0.0,
    walks: float = 0.0,
    opens: float = 0.0,
    *,
    wide: bool = False,
) -> Outcome:
    """Run a seed; never raises for what the machines do wrong.

    ``frees`` is how often user code frees one of its objects between two things that it does,
    ``walks`` how often it puts values into values, or reads them from the outside in, ``opens`` how
    often an argument takes long to be opened.
    ``wide`` adds faults that plain seeds do not have; see ``zfut.sim.faults``.
    """
    rng = Random(seed)  # noqa: S311  a seed is meant to be known
    setting, chances, strikes = draw_setting(rng)
    chances.frees, chances.walks, chances.opens = frees, walks, opens
    if walks:
        chances.budget *= 3  # for calls of calls of calls
        turns_max *= 4
    deaths = Random(f"deaths {seed}").choice((4096, 0, 1, 3))  # noqa: S311  a seed is meant to be known
    setting.config = replace(setting.config, deaths_max=deaths)
    if wide:
        widen(seed, setting, chances, strikes)
    workload = Workload(rng, chances, seed)
    cluster = Cluster(setting, rng, workload.run_call)
    aside = Random(seed ^ ASIDE)  # noqa: S311  of its own: seeds without such waits stay as they are
    if aside.random() < ASIDE_SEEDS:
        cluster.waits_aside = lambda: aside.random() < ASIDE_SHARE
    faults = Faults(cluster, strikes)
    violation = ""
    try:
        for driver in cluster.drivers:
            cluster.threads.start(driver, workload.program)
        faults.arm()
        _run(cluster, turns_max)
    except Violation as broken:
        violation = str(broken)
    except Exception as error:  # noqa: BLE001  any error in a machine is what we look for
        violation = describe(error)
    return Outcome(seed, cluster.events, violation, cluster)


def _run(cluster: Cluster, turns_max: int) -> None:
    if not cluster.run(turns_max):
        if cluster.ghost.tries_for_ever():
            return  # what its task looks up is a dead owner's, one time after the other
        violate(f"it has not ended after {turns_max} turns")
    invariants.ended_actors_keep_nothing(cluster)
    _break_cycles(cluster)
    if not cluster.run(turns_max):
        violate(f"it does not come to rest in {turns_max} turns")
    if not cluster.node.alive:
        invariants.session_is_over(cluster)
        return
    if invariants.only_cycles_are_left(cluster) or a_program_waits_for_itself(cluster):
        return
    invariants.at_rest(cluster)
    for driver in cluster.drivers:
        if driver.alive:
            cluster.farewell(driver)
            cluster.run(turns_max)
    invariants.at_rest(cluster)


def _break_cycles(cluster: Cluster) -> None:
    """Actors that keep a value with their own handle in it live for ever; users may do that."""
    for process in cluster.workers():
        process.release_kept()


def describe(error: Exception) -> str:
    """Say what was raised, and where in the machines."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        name = code.co_filename.partition("zfut/")[2]
        frames.append(f"    {name}:{trace.tb_lineno} {code.co_qualname}")
        trace = trace.tb_next
    return "\n".join([f"{type(error).__name__}: {error}", *frames])

"""Each check can fail: a rule is broken on purpose, and the check that is for it says so.

A check of a table is shown by seeds; one of the world by a few commands.  The words are those of
the check, so that another one which sees the same fault does not stand in for it.
"""

# ruff: noqa: SLF001  a mutant reaches into the machines
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, TypeAlias

import pytest

from tests.sim.mutants.borrowing import another_cover_is_trusted
from tests.sim.test_two_owners import told
from zfut.core.head.actor_directory import ActorDirectory, Entry, Key
from zfut.core.head.machine import HeadMachine
from zfut.core.owner.actors import Actors
from zfut.core.owner.borrowing import Borrowing
from zfut.core.owner.ledger import Ledger
from zfut.core.owner.lives import Lives
from zfut.core.owner.mourning import Mourning
from zfut.core.owner.records import Actor, Lease, Task
from zfut.core.owner.recovery import Recovery
from zfut.core.owner.submission import Submission
from zfut.core.owner.tasks import Tasks
from zfut.core.owner.tokens import Tokens
from zfut.sim import invariants
from zfut.sim.arena import Violation
from zfut.sim.causes import causes_are_alive
from zfut.sim.run import run_seed
from zfut.sim.script import Script
from zfut.wire import messages as m
from zfut.wire.specs import TaskResult

Patch: TypeAlias = Callable[[pytest.MonkeyPatch], None]

TURNS = 5_000


def nothing(*_: Any, **__: Any) -> None:
    """Do nothing instead."""


# -------------------------------------------------------------------- one rule off each


def what_is_recalled_goes_elsewhere_at_once(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Tasks, lease: Lease) -> None:
        queued = list(lease.in_flight.values())[1:]
        for task in queued:
            self.submission.push_back(task)
        self._requeue(queued)

    patch.setattr(Tasks, "_recall", mutant)


def calls_are_sent_again_the_last_one_first(patch: pytest.MonkeyPatch) -> None:
    right = Actors.leave

    def mutant(self: Actors, actor: Actor) -> list[Task]:
        return right(self, actor)[::-1]

    patch.setattr(Actors, "leave", mutant)


def tokens_are_used_again(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Tokens) -> bytes:
        self._count = (self._count + 1) % 2
        return self._uid + self._count.to_bytes(8, "big")

    patch.setattr(Tokens, "mint", mutant)


def the_last_one_gets_the_name(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: ActorDirectory, key: Key, entry: Entry) -> Entry:
        self.names[key] = entry
        return entry

    patch.setattr(ActorDirectory, "register", mutant)


def a_call_ends_without_a_registration(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Borrowing, task_id: bytes, _: bytes) -> list[bytes]:
        self._ledger.covers.take(task_id)
        return []

    patch.setattr(Borrowing, "end_call", mutant)


def arguments_are_held_twice(patch: pytest.MonkeyPatch) -> None:
    right = Ledger.hold_deps

    def mutant(self: Ledger, task: Task) -> Any:
        for _, object_id, owner in task.deps[:1]:
            self.hold_argument(object_id, owner)
        return right(self, task)

    patch.setattr(Ledger, "hold_deps", mutant)


def dropped_handles_count(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "drop", nothing)


def registrations_are_never_given_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tokens, "release", nothing)


def registrations_are_acknowledged_and_forgotten(patch: pytest.MonkeyPatch) -> None:
    right = Borrowing.on_register

    def mutant(self: Borrowing, sender: bytes, message: m.RegisterBorrows) -> None:
        right(self, sender, message)
        for object_id, token in message.items:
            row = self._ledger.objects.rows.get(object_id)
            if row is not None and row.local and row.borrowers:
                del row.borrowers[token]
                row.borrowers = row.borrowers or None

    patch.setattr(Borrowing, "on_register", mutant)


def a_downgrade_is_not_heard(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Recovery, "on_downgrade", nothing)


def unwanted_values_keep_their_memory(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "free_memory", nothing)


def the_dead_still_borrow(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Borrowing, "drop_borrower", nothing)


def workers_that_died_still_know_functions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Submission, "forget_worker", lambda self, uid: self.by_worker.get(uid))


def names_outlive_their_owners(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(HeadMachine, "on_process_died", nothing)


def notices_of_deaths_are_not_answered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mourning, "settle", nothing)


def lineage_has_no_bound(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Recovery, "drop_excess", nothing)


PLAIN, WIDE = False, True

BY_SEED: list[tuple[Patch, str, bool, Collection[int]]] = [
    (what_is_recalled_goes_elsewhere_at_once, "is sent on", PLAIN, range(55, 85)),
    (tokens_are_used_again, "used a token twice", PLAIN, range(60)),
    (the_last_one_gets_the_name, "are both called", WIDE, (3, 125, 384)),
    (a_call_ends_without_a_registration, "without a token or a cover", PLAIN, range(60)),
    (arguments_are_held_twice, "calls and counts", PLAIN, range(60)),
    (dropped_handles_count, "handles and counts", PLAIN, range(60)),
    (registrations_are_never_given_back, "and has no use", PLAIN, range(60)),
    (registrations_are_acknowledged_and_forgotten, "its owner has not", PLAIN, range(60)),
    (a_downgrade_is_not_heard, "differ on how it uses", PLAIN, range(60)),
    (unwanted_values_keep_their_memory, "is no value any more", PLAIN, range(60)),
    (the_dead_still_borrow, "a dead process borrows", PLAIN, range(60)),
    (workers_that_died_still_know_functions, "in its shipped functions", PLAIN, range(60)),
    (names_outlive_their_owners, "in its owners of names", WIDE, (113, 125, 240)),
    (notices_of_deaths_are_not_answered, "nothing is under way", PLAIN, range(60)),
    (lineage_has_no_bound, "lineage takes", WIDE, range(60)),
]


@pytest.mark.parametrize(
    ("mutant", "words", "wide", "seeds"), BY_SEED, ids=lambda one: getattr(one, "__name__", "")
)
def test_seeds_show_that_a_check_can_fail(
    mutant: Patch,
    words: str,
    wide: bool,  # noqa: FBT001
    seeds: Collection[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutant(monkeypatch)
    found: Counter[str] = Counter()
    for seed in seeds:
        violation = run_seed(seed, TURNS, wide=wide).violation
        if words in violation:
            return
        found[violation[-60:]] += 1
    pytest.fail(f"{mutant.__name__}: nothing says {words!r}, only {found.most_common(3)}")


# -------------------------------------------------------------------- the world


def broken(script: Script, *commands: str) -> str:
    """Run commands until one breaks a rule; returns what the check says."""
    with pytest.raises(Violation) as violation:
        told(script, *commands)
    return str(violation.value)


def two_actors_that_protect_each_other(script: Script) -> None:
    """The first runs two calls with y: its caller's, and one of the second, whose own y is its."""
    told(script, "cluster cpus=4", "driver put y big", "driver actor q threads=2")
    told(script, "driver actor s", "w1 return", "advance 5ms", "w2 return", "advance 5ms")
    told(script, "driver call s m nested=q", "advance 5ms", "w2 keep q", "w2 return")
    told(script, "driver call q m1 nested=y,s", "advance 5ms", "w1 call s n1 nested=y")
    told(script, "advance 5ms", "w2 call q m2 nested=y", "advance 5ms")
    script._users["w1"].reverse()  # the elder of its two calls obeys next


def test_covers_that_support_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()
    two_actors_that_protect_each_other(script)
    told(script, "w1 return", "advance 5ms")
    another_cover_is_trusted(monkeypatch)
    script = Script()
    two_actors_that_protect_each_other(script)
    assert "in a circle" in broken(script, "w1 return")


def test_calls_that_are_sent_again_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def until_the_restart(script: Script) -> None:
        told(script, "cluster", "driver actor a restarts=1", "w1 return", "advance 5ms")
        told(script, "driver call a m1 m2 m3", "advance 1ms")
        (actor,) = script._cluster.drivers[0].owner.calls.actors.actors.values()
        for task in actor.sent.values():
            task.retries_left = task.template.max_retries = 1

    script = Script()
    until_the_restart(script)
    told(script, "kill w1", "advance 5ms")
    calls_are_sent_again_the_last_one_first(monkeypatch)
    script = Script()
    until_the_restart(script)
    assert "in another order" in broken(script, "kill w1", "advance 5ms")


def test_an_answer_to_an_older_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Tasks.on_result

    def mutant(
        self: Tasks, sender: bytes, result: TaskResult, payload: bytes, now: int
    ) -> bool:
        task = self.submission.find(sender, result.task_id)
        newest = task.attempt if task is not None else 0
        if task is not None:
            task.attempt = result.attempt
        done = right(self, sender, result, payload, now)
        if task is not None:
            task.attempt = newest
        return done

    script = Script()
    told(script, "cluster", "driver submit t")
    (task,) = (row.task for row in script._cluster.drivers[0].owner.rows.values())
    assert task is not None
    task.attempt = 1
    monkeypatch.setattr(Tasks, "on_result", mutant)
    assert "attempt 1 is the newest" in broken(script, "w1 return", "advance 1ms")


def test_what_is_pending_is_followed_though_nobody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Submission, "enqueue", nothing)
    script = Script()
    told(script, "cluster", "driver submit t", "advance 5ms")
    with pytest.raises(Violation, match="waits for nothing"):
        causes_are_alive(script._cluster)


def test_an_actor_that_nobody_calls_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()
    told(script, "cluster", "driver actor a", "advance 5ms")
    causes_are_alive(script._cluster)
    monkeypatch.setattr(Lives, "request", nothing)
    script = Script()
    told(script, "cluster", "driver actor a", "advance 5ms")
    with pytest.raises(Violation, match="waits for nothing"):
        causes_are_alive(script._cluster)


def test_a_request_that_the_node_has_lost() -> None:
    script = Script()
    told(script, "cluster cpus=1", "driver submit t u", "advance 5ms")
    causes_are_alive(script._cluster)
    script._cluster.node.machine.granting.leases.queued.clear()  # type: ignore[union-attr]
    (lease,) = script._cluster.drivers[0].owner.tasks.submission.by_worker.values()
    running = lease.in_flight.copy()
    lease.in_flight.clear()
    with pytest.raises(Violation, match="waits for nothing"):
        causes_are_alive(script._cluster)
    lease.in_flight.update(running)


def test_a_call_that_is_said_to_run_and_does_not() -> None:
    script = Script()
    told(script, "cluster", "driver submit t", "advance 5ms")
    causes_are_alive(script._cluster)
    (worker,) = script._cluster.workers()
    worker.threads[0].code = None
    with pytest.raises(Violation, match="waits for nothing"):
        causes_are_alive(script._cluster)


def a_program_that_waits() -> Script:
    script = Script()
    told(script, "cluster", "driver submit t", "driver get t")
    script._cluster.kill(script._cluster.node)
    return script


def test_the_end_of_the_node_ends_every_wait() -> None:
    script = a_program_that_waits()
    assert script._cluster.run(TURNS)
    invariants.session_is_over(script._cluster)
    assert not script._cluster.workers()
    assert script._cluster.drivers[0].alive


@pytest.mark.parametrize("broken_rule", ["_interrupt", "kill"])
def test_who_outlives_the_node_is_seen(
    broken_rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = a_program_that_waits()
    monkeypatch.setattr(script._cluster, broken_rule, nothing)
    script._cluster._calendar = [
        (when, order, nothing if what.__name__ == broken_rule else what, args)
        for when, order, what, args in script._cluster._calendar
    ]
    script._cluster.run(TURNS)
    with pytest.raises(Violation, match="session"):
        invariants.session_is_over(script._cluster)


@pytest.mark.parametrize("working", [False, True], ids=["idle", "working"])
def test_the_only_program_dies_and_nothing_is_left(*, working: bool) -> None:
    script = Script()
    told(script, "cluster cpus=2", "driver put x big", "driver actor a")
    if working:
        told(script, "w1 return", "driver submit t deps=x", "driver call a m nested=x")
    told(script, "kill driver", "advance 5s")
    assert told(script, "rest").endswith("nothing is left")

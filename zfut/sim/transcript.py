"""Events and effects as lines for a reader, in scenarios and in what a failing seed shows.

> w1: PushTasks tasks=t1 from driver         an event, at whom
  w1 -> driver  TasksFinished results=t1     an effect of it
"""

# ruff: noqa: C901  it shows whatever there is
from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from zfut.core import effects as f
from zfut.core import events as e
from zfut.core.executor.inbox import Call
from zfut.core.owner.records import Task
from zfut.ids import OBJECT_BYTES, PROC_BYTES, TASK_BYTES
from zfut.wire import specs as s

if TYPE_CHECKING:
    from zfut.sim.cluster import Cluster
    from zfut.sim.process import Process

HIDDEN = {
    "depth": None, "label": None, "backlog": None, "encoding": None, "run_ns": None,
    "functions": None, "trace": None, "node": None, "wish_bytes": None, "attempt": 0,
    "payload": None, "size_bytes": None, "detail": None, "key": None, "protocol": None,
    "view": None, "caller": None,
}  # fmt: skip
"""Fields that tell a reader nothing: always, or when they have this value."""


class Names:
    """What processes, calls and objects are called in a transcript."""

    def __init__(self, processes: Mapping[bytes, Process]) -> None:
        self._processes = processes
        self.given: dict[bytes, str] = {}
        self._tasks: dict[bytes, str] = {}

    def process(self, uid: bytes) -> str:
        """Name a process."""
        process = self._processes.get(uid)
        return process.name if process is not None else uid.hex()

    def task(self, task_id: bytes) -> str:
        """Name a call or a put."""
        given = self.given.get(task_id)
        if given is not None:
            return given
        return f"{self.process(task_id[:16])}.{int.from_bytes(task_id[16:24], 'big')}"

    def any(self, name: bytes) -> str:
        """Name whatever this is the id of."""
        if len(name) == PROC_BYTES:
            return self.process(name)
        if len(name) == OBJECT_BYTES:
            index = int.from_bytes(name[24:], "big")
            suffix = {0: "", 1: "", 1 << 31: ""}.get(index, f".{index}")
            return self.task(name[:24]) + suffix
        if len(name) == TASK_BYTES:
            if name in self.given or self._is_task(name):
                return self.task(name)
            return f"token{int.from_bytes(name[16:], 'big')}@{self.process(name[:16])}"
        try:
            return name.decode()
        except UnicodeDecodeError:
            return name.hex()

    def _is_task(self, name: bytes) -> bool:
        process = self._processes.get(name[:16])
        return process is not None and name in process.cluster.ghost.calls


def show(value: Any, names: Names) -> str:  # noqa: PLR0911  one line for each kind of thing
    """Show a field so that a reader, not a program, can follow it."""
    match value:
        case bytes():
            return names.any(value) if value else ""
        case bool() | int() | str():
            return str(value)
        case s.Address():
            return names.process(value.uid)
        case s.TaskSpec():
            again = f"#{value.attempt}" if value.attempt else ""
            deps = "".join(f" {show(dep.value, names)}" for dep in value.deps)
            return names.task(value.task_id) + again + (f"({deps[1:]})" if deps else "")
        case s.TaskResult():
            return _show_result(value, names)
        case s.Stored():
            return f"stored@{value.offset}" + _show_refs(value, names)
        case s.Inline():
            return "inline" + _show_refs(value, names)
        case s.Failed():
            return "failed"
        case s.RefInfo():
            return names.any(value.object_id) + (
                f":{names.any(value.token)}" if value.token else ""
            )
        case tuple() | list():
            return ",".join(show(item, names) for item in value)
        case None:
            return "none"
        case _:
            return str(value)


def _show_refs(value: s.Inline | s.Stored, names: Names) -> str:
    return f"[{show(value.refs, names)}]" if value.refs else ""


def _show_result(result: s.TaskResult, names: Names) -> str:
    again = f"#{result.attempt}" if result.attempt else ""
    status = ("", ":raised", ":cancelled", ":retriable", ":bereft")[result.status]
    values = "" if status else "=" + show(result.values, names) if result.values else ""
    kept = f" retained={show(result.retained, names)}" if result.retained else ""
    return names.task(result.task_id) + again + status + values + kept


def brief(message: Struct, names: Names) -> str:
    """One line for one message or event."""
    words = [type(message).__name__]
    for name in message.__struct_fields__:
        value = getattr(message, name)
        if name in HIDDEN and (HIDDEN[name] is None or value == HIDDEN[name]):
            continue
        if name == "demand":
            value = "+".join(f"{kind}:{amount / 10_000:g}" for kind, amount in value)
        if value in ((), b"", "", None, False):
            continue
        words.append(f"{name}={show(value, names)}")
    return " ".join(words)


def event_line(process: Process, event: Any, names: Names) -> str:
    """Show what happened to a process."""
    if isinstance(event, bytes | e.ViewClosed):
        what = f"dropped {names.any(event if isinstance(event, bytes) else event.object_id)}"
    elif isinstance(event, e.Received):
        text = brief(event.message, names)
        what = f"{text} from {names.process(event.sender)}"
    elif isinstance(event, Task):
        what = _task_line(event, names)
    else:
        what = brief(event, names)
    return f"> {process.name}: {what}"


def _task_line(task: Task, names: Names) -> str:
    words = [f"submitted {names.task(task.task_id)}"]
    if task.actor_id:
        words.append(f"to actor {names.task(task.actor_id)}")
    if task.creation is not None:
        words.append("an actor")
    if task.deps:
        words.append("deps=" + ",".join(names.any(dep[1]) for dep in task.deps))
    if task.nested:
        words.append("nested=" + ",".join(names.any(ref[0]) for ref in task.nested))
    return " ".join(words)


def effect_line(process: Process, effect: f.Effect, names: Names) -> str:
    """Show what a process asked for."""
    if isinstance(effect, f.Send):
        text = brief(effect.message, names)
        return f"  {process.name} -> {names.process(effect.to)}  {text}"
    return f"  {process.name} asks: {brief(effect, names)}"


def lines(process: Process, what: Any, kind: str, names: Names) -> str:
    """Show one entry of a cluster's trace."""
    if kind == "event":
        return event_line(process, what, names)
    if kind == "effect":
        return effect_line(process, what, names)
    if kind == "runs":
        assert isinstance(what, Call)
        return f"  {process.name} runs {show(what.spec, names)}"
    return f"! {process.name} {kind}: {what}"


def last_lines(cluster: Cluster, count: int) -> list[str]:
    """Show the end of what happened in a cluster."""
    names = Names(cluster.processes)
    began = cluster.trace[0][0] if cluster.trace else 0
    return [
        f"{(now - began) / 1e6:10.3f} ms {lines(process, what, kind, names)}"
        for now, process, what, kind in list(cluster.trace)[-count:]
    ]

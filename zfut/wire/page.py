"""Prints docs/protocol.md: ``python -m zfut.wire.page > docs/protocol.md``.

The page is made from the classes of ``zfut.wire.messages`` and ``zfut.wire.specs``, their
docstrings and their fields; what stands here is only how to read them.  It is meant for someone
who speaks the protocol in another language, so types are msgpack's and not Python's.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator

import msgspec

from zfut import failure, ids
from zfut.wire import arrays, codec, frames, mailboxes, serialize, specs
from zfut.wire import messages as m
from zfut.wire.meanings import meaning

MAILBOXES: dict[str, object] = {
    "driver": mailboxes.ToOwner,
    "worker": mailboxes.ToWorker,
    "node manager": mailboxes.ToNode,
}
"""Who has a mailbox, and the union of what it accepts."""

NOUNS: tuple[type[msgspec.Struct], ...] = (
    specs.Address,
    specs.RefInfo,
    specs.Inline,
    specs.Stored,
    specs.Failed,
    specs.Dep,
    specs.FunctionDef,
    specs.TaskSpec,
    specs.TaskResult,
)

INTRODUCTION = f"""\
# The wire protocol, version {m.PROTOCOL_VERSION}

This page is printed by `python -m zfut.wire.page`; change the classes it is made from, not
the page. Encoded messages to test a program against are in `tests/wire/golden.json`.

## The idea

Every process of a session has one mailbox and owns what the calls it submits will return.
To run a call it asks the node manager for a *lease* on a worker, then talks to that worker
alone: the node manager never sees a task. Values that are small travel in messages; large
ones lie in the node's *arena*, one piece of shared memory, and messages say where.

Three kinds of process speak. A *driver* is a program: it is an owner. A *worker* is an
owner and an executor behind one mailbox. The *node manager* lends workers and memory.

## Connections

A session has a private directory. In it, `session.json` has what a process needs to join:
the fields `protocol`, `key` (the session's key in hexadecimal digits), `manager` (the node
manager's process id, likewise), `manager_pid`, and `arena` with `kind`, `path`,
`capacity_bytes` and `inode`. The directory `s` beside it holds one Unix socket for each
process.

- A process binds a ZeroMQ ROUTER to `ipc://<directory>/s/<name>`, where the name is the
  last 8 bytes of its process id in hexadecimal digits.
- To send, it connects a DEALER to the receiver's socket, with its own process id as routing
  id. One DEALER for each receiver, used in that direction only: what one process sends
  another arrives in order.
- An answer comes over a connection of the answering process's own, so a client that binds
  no ROUTER hears nothing.
- A driver names itself: the node's 8 bytes, then 4 bytes of which the first bit is 1, then
  4 random bytes.
- The first message on each connection is `Hello`, with sequence number 0. It has no answer.
- Set the DEALER's high-water mark to 0: what is sent is limited by what was asked for, and
  a full queue would drop.

A message that is malformed, repeated, for another process, or not among those the mailbox
takes is dropped, counted and logged once. Nobody answers it.

## Frames

A message is one or two frames. The first is the route, 25 bytes, and directly after it the
header. The second is the payload; it is left out when there is none. (A ROUTER adds the
sender's process id before them.) No frame is larger than `message_max_bytes`. A longer payload is cut
into several frames. For a longer header the first frame is the route alone, the second is a
number, 4 bytes big endian, of the frames that follow and together are the header.
"""

READING = """\
The sequence number is 0 for `Hello` and then grows with each message on the connection. A
message whose number is not larger than the last one's is dropped as a repeat.

The header is a msgpack array: the message's number, then its fields in the order below.
Nouns are arrays of their fields; `Inline`, `Stored` and `Failed` begin with a number that
tells them apart. Fields at the end that have a default may be left out by a sender. What
comes after the last field that a receiver knows is ignored.

In the tables `bin`, `str`, `int`, `bool` and `nil` are msgpack's types; `[x, ...]` is an
array of any length, `[x, y]` one of exactly these.

## Names
"""

NAMES = """\
Counters and indexes are big endian. The owner of a task or an object is the first 16 bytes of
its id. An object's index is 1 and up for return values, 2^31 for a put, 0 for an actor's
handles. An actor's id is the TaskID of its creation. The node manager's spawn counter is 0.
"""

PAYLOAD = """\
## Payload

A header never holds a user's bytes, only how many there are. The payload frame is all of
them, one after the other, in the order in which the header names them. `PushTasks`,
`CreateActor` and `PushCalls`: the code of each of `functions`, then for each call its
packed plain arguments (`size_bytes`), then the bytes of each of its `deps` that is
`Inline`. `TasksFinished`: for each result the bytes of each of its `values` that is
`Inline` or `Failed`. `ObjectReady`: the bytes of its `value`. A `Stored` value has no bytes
in the payload: it lies in the arena at `offset`.

The packed plain arguments are one value, a pair: a list of positional arguments, a map of
keyword arguments. Where an argument was given by reference the list has a placeholder, and
one of `deps` says what belongs there. A call without plain arguments has encoding 0 and no
bytes.

Code is a Python pickle of a function or class. `c<module>\\n<name>\\n.` names one that can
be imported: `cmath\\nsqrt\\n.` is `math.sqrt`.

## Encodings

An encoding is a number that says how a value's bytes are written:
"""

CONVERSATION = """\
## A first conversation

What a client does to have one task run and read its answer. `N` is the node manager, `W`
the worker it lends.

```text
client                                               N                   W
  | --- Hello(protocol, key, uid, "driver", pid) --> |                   |
  | --- RequestLease(1, demand, 0, 1, "f") --------> |                   |
  |                                                  | --- Bind(...) --> |
  | <---------- Hello, LeaseGranted(1, W, bind) ---- |                   |
  | --- Hello(protocol, key, uid, "driver", pid) ----------------------> |
  | --- PushTasks([uid, 0], 1, bind, functions, tasks) ----------------> |
  | <------------------------------ Hello, TasksFinished(results) ------ |
  | --- ReturnLease(1, "done") --------------------> |                   |
  | --- Farewell() --------------------------------> |                   |
```

`tests/wire/test_foreign_client.py` is this client, written with nothing but a ZeroMQ and a
msgpack library.

What an owner owes the others:

- A lease is returned, or it stays lent until its owner ends.
- A `Stored` value that is not needed any more is given back to its `creator` with
  `FreeMemory`, or with `FreeClaimed` to the node if that process died.
- A token, in `retained` or in `refs`, is somebody's use of an object: its owner keeps the
  object until `ReleaseBorrows` names the token, or the borrower dies.
- `LocateObjects` and `LocateActor` are answered, at the latest when there is something to
  say.
- `ProcessDied` is answered with `ClaimMemory`, also when nothing is claimed: until then the
  dead process's memory is kept. What is claimed is everything of a dead owner that is used here,
  whoever wrote it. Who wrote for a dead owner cedes that to the node with `CedeMemory`. Whoever
  keeps a dead owner's value beyond a call that brought it claims it with a `number`, and answers the
  call after `MemoryClaimed`. Whoever runs a call of the dead process first registers what
  that call uses with the owners, and waits until they have acknowledged it.
- Who holds something for a process that died asks for a fence, `FenceProcess`, and lets it go
  only after `ProcessFenced`: others may run calls that the dead process had sent them.
- `Watch` names every process that something depends on: only then `ProcessDied` comes.
"""


def page() -> str:
    """Return the whole page."""
    parts = [
        INTRODUCTION,
        fenced(layout_of(codec)),
        READING,
        fenced(layout_of(ids)),
        NAMES,
        PAYLOAD,
        fenced(layout_of(serialize)),
        f"### {serialize.Encoding(2).name}\n\n{prose(frames.__doc__)}",
        f"### {serialize.Encoding(7).name}\n\n{prose(arrays.__doc__)}",
        f"### {serialize.Encoding(6).name}\n\n{prose(failure.__doc__)}",
        "## Nouns\n",
        *(noun(cls) for cls in NOUNS),
        "## Messages\n",
        accepted_by_all(),
        *messages(),
        CONVERSATION,
        example(),
    ]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip() + "\n"


# ------------------------------------------------------------------ docstrings


def layout_of(module: types.ModuleType) -> str:
    """Return the first indented block of a module's docstring."""
    blocks = re.findall(r"(?:^ {4}.*\n?)+", module.__doc__ or "", re.MULTILINE)
    return f"\n{blocks[0]}"


def fenced(block: str) -> str:
    """Return a block of text that is shown as it is."""
    return f"```text\n{inspect.cleandoc(block.rstrip()).replace('``', '')}\n```\n"


def prose(doc: str | None) -> str:
    """Return a docstring as Markdown: what is indented is shown as it is."""
    parts = re.split(r"\n((?: {4}.*(?:\n|$)|\n(?= {4}))+)", inspect.cleandoc(doc or "") + "\n")
    shown = [
        f"\n\n{fenced(part)}" if index % 2 else marked(part) for index, part in enumerate(parts)
    ]
    return "".join(shown) + "\n"


def marked(text: str) -> str:
    """Return prose with Markdown's code marks."""
    return re.sub(r"``(.+?)``", r"`\1`", text).replace(".  ", ". ")


# ------------------------------------------------------------------ types


def type_text(kind: object) -> str:
    """Write a field's type as msgpack has it."""
    plain = {bytes: "bin", str: "str", int: "int", bool: "bool", type(None): "nil"}
    if isinstance(kind, type) and kind in plain:
        return plain[kind]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind.__name__
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " or ".join(type_text(argument) for argument in arguments)
    assert typing.get_origin(kind) is tuple, kind
    inner = [type_text(argument) for argument in arguments if argument is not Ellipsis]
    return f"[{', '.join(inner)}, ...]" if Ellipsis in arguments else f"[{', '.join(inner)}]"


def fields(cls: type[msgspec.Struct]) -> str:
    """Return the table of a class's fields."""
    found = msgspec.structs.fields(cls)
    if not found:
        return "No fields.\n"
    hints = typing.get_type_hints(cls)
    rows = ["| field | type | default | |", "|---|---|---|---|"]
    for field in found:
        default = "" if field.default is msgspec.NODEFAULT else default_text(field.default)
        kind = type_text(hints[field.name])
        said = meaning(cls.__name__, field.name)
        rows.append(f"| `{field.name}` | {kind} | {default} | {said} |")
    return "\n".join(rows) + "\n"


def default_text(value: object) -> str:
    """Write a default as msgpack's value."""
    shown = {b"": "empty", "": "empty", (): "[]", False: "false"}
    return str(value) if type(value) is int else shown[value]


# ------------------------------------------------------------------ nouns and messages


def noun(cls: type[msgspec.Struct]) -> str:
    """Return the section of a noun."""
    tag = cls.__struct_config__.tag
    begins = "" if tag is None else f"Begins with {tag}. "
    return f"### `{cls.__name__}`\n\n{begins}{prose(cls.__doc__)}\n{fields(cls)}"


def members(union: object) -> tuple[type[m.Message], ...]:
    """Return the classes of a union."""
    return typing.get_args(union)


def accepted_by(cls: type[m.Message]) -> list[str]:
    """Return whose mailboxes take this message."""
    return [who for who, union in MAILBOXES.items() if cls in members(union)]


def accepted_by_all() -> str:
    """Return the table of what each mailbox takes."""
    rows = ["| mailbox | takes |", "|---|---|"]
    for who, union in MAILBOXES.items():
        names = ", ".join(f"`{cls.__name__}`" for cls in members(union))
        rows.append(f"| {who} | {names} |")
    return "\n".join(rows) + "\n"


def all_messages() -> list[type[m.Message]]:
    """Return every message, by number."""
    return sorted(
        m.Message.__subclasses__(), key=lambda cls: int(str(cls.__struct_config__.tag))
    )


def messages() -> Iterator[str]:
    """Yield the sections of all messages, under the headings of their file."""
    last = ""
    for cls in all_messages():
        heading = heading_of(cls)
        if heading and heading != last:
            yield f"### {heading}\n"
            last = heading
        first, _, rest = inspect.cleandoc(cls.__doc__ or "").partition(": ")
        number = cls.__struct_config__.tag
        takers = ", ".join(accepted_by(cls))
        direction = first.replace("->", "→")
        said = rest[:1].upper() + rest[1:]
        yield (
            f"#### {number} `{cls.__name__}`: {direction}\n\n"
            f"{prose(said)}\nTaken by: {takers}.\n\n{fields(cls)}"
        )


def heading_of(cls: type[m.Message]) -> str:
    """Return the heading, a comment line, that a class stands under in its file."""
    source = inspect.getsource(sys.modules[cls.__module__])
    above = source[: source.index(f"class {cls.__name__}(")]
    found = re.findall(r"^# -{10,} (.+)$", above, re.MULTILINE)
    return found[-1].replace("<->", "↔").replace("->", "→").capitalize() if found else ""


def example() -> str:
    """Return one message, byte by byte."""
    receiver = ids.proc_uid(ids.NodeUid(b"nodenode"), 0, b"salt")
    message = m.ReturnLease(7, "done")
    route = codec.route(codec.route_prefix(receiver), 3)
    header = codec.encode(message)
    parts = (
        ("route version", route[:1]),
        ("receiver", route[1:17]),
        ("sequence 3", route[17:]),
        ("array of 3", header[:1]),
        (f"number {m.ReturnLease.__struct_config__.tag}", header[1:2]),
        ("lease_id 7", header[2:3]),
        ("reason: done", header[3:]),
    )
    shown = "\n".join(f"{data.hex(' '):<50}{what}" for what, data in parts)
    title = "## In bytes\n\nThe third message to a node manager: `ReturnLease`.\n"
    return f"{title}\n```text\n{shown}\n```"


def main() -> None:
    """Print the page."""
    sys.stdout.write(page())


if __name__ == "__main__":
    main()

r"""The line protocol between a producer of tasks (parent) and a processor (child), without I/O.

One JSON document per line (LF, UTF-8) in both directions: requests on the child's stdin, answers on its stdout. Its
stderr is a log for people. This is the protocol of damocles' external processors:

*   First the child writes `<stage> processor ready` and nothing more until it has got a request.
*   Request: `{"id": 1, "task": {…}}`; ids count up from 1. Several may be open.
*   Answer, in any order: `{"id": 1, "err_msg": null, "output": …}`; a text in `err_msg` means that the task failed.
    Output cannot be null.
*   The child ends when its stdin does.

Ours on top of it. A parent that knows more shows it by naming the stage in the request; children that know nothing
of this skip the key, and our own child sends nothing new to a parent that has not named it:

*   `"stage"` beside `"task"`: which stage the task is of. A child started for `all` serves each; one started for a
    single stage wants that one.
*   `{"id": 1, "cancel": true}` (parent): nobody waits for this answer any more. The child stops at the next point
    where it can, and answers all the same. Older children log the line as unreadable and go on.
*   `{"id": 1, "progress": {"done": 3, "total": 10, "unit": "B"}}` (child): how far a task is; with `"waiting": "text"`
    also what it waits for.
*   `{"id": 1, "log": "text"}` (child): a line for the log of this task.
*   `"detail"` beside `err_msg` (child): a traceback.
*   `"last": true` beside `err_msg` (child): it ends now, for a new process to take over.
*   `"lost": true` beside `err_msg` (child): the task was with another process, which is gone: run it again.
*   `{"id": 1, "at": {"host": "gpu1", "pid": 4711}}` (child): another process works on the task, maybe on another machine.

To an original parent progress and log without the agreement would be answers without output, hence the agreement.
"""

from dataclasses import dataclass
from typing import TypeVar

import msgspec

from damocles.wire import codec

T = TypeVar("T")

MAX_LINE_BYTES = 1 << 30  # C1's output of 64GiB is some tens of MB
LOG_LINE_BYTES = 1 << 16
_EXCERPT_BYTES = 100
_ABSENT = msgspec.Raw(b"")  # a key that is not there; JSON has no empty document


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line from the parent: a task, or with `cancel` the end of the interest in one."""

    id: int
    task: msgspec.Raw = _ABSENT
    stage: str | None = None
    cancel: bool = False


class Progress(msgspec.Struct, frozen=True):
    """How far a task is; `waiting` is what it waits for, if it is stalled."""

    done: int
    total: int | None = None
    unit: str = "B"
    waiting: str | msgspec.UnsetType = msgspec.UNSET


class At(msgspec.Struct, frozen=True):
    """The process that works on a task, where that is not the child."""

    host: str
    pid: int


class _Line(msgspec.Struct, frozen=True):
    id: int
    err_msg: str | msgspec.UnsetType | None = msgspec.UNSET
    output: msgspec.Raw = _ABSENT
    # Foreign processors may use these keys for something else: read only where they can be ours.
    detail: msgspec.Raw = _ABSENT
    last: msgspec.Raw = _ABSENT
    lost: msgspec.Raw = _ABSENT
    at: msgspec.Raw = _ABSENT
    progress: msgspec.Raw = _ABSENT
    log: msgspec.Raw = _ABSENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The end of a task: `error` is its failure, else `output` is JSON."""

    id: int
    output: msgspec.Raw | None = None
    error: str | None = None
    detail: str | None = None
    is_last: bool = False  # the child ends and takes no more tasks
    is_lost: bool = False  # who worked on it is gone, the task may be fine


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """News of a task that goes on."""

    id: int
    progress: Progress | None = None
    log: str | None = None
    at: At | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chatter:
    """What a library printed on stdout: for the log."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbled:
    """An answer that cannot be read. Its task would be waited for in vain."""

    text: str


_request = msgspec.json.Decoder(Request)
_line = msgspec.json.Decoder(_Line)
_any = msgspec.json.Decoder()


def ready_line(stage: str) -> bytes:
    """Return the child's first line."""
    return f"{stage} processor ready\n".encode()


def is_ready(line: bytes, stage: str) -> bool:
    """Return whether a first line is that of the stage, apart from white space around it."""
    return line.strip() == ready_line(stage).strip()


def request(request_id: int, task: bytes, stage: str | None = None) -> bytes:
    """Write a request line; `task` is JSON."""
    return _encode(Request(request_id, msgspec.Raw(task), stage))


def cancellation(request_id: int) -> bytes:
    """Write the line that ends the interest in a request."""
    return _encode(Request(request_id, cancel=True))


def read_request(line: bytes) -> Request:
    """Read a line from the parent.

    Raises:
        ValueError: It is no request (`msgspec.DecodeError`).
    """
    read = _request.decode(line)
    if not read.task and not read.cancel:
        raise ValueError("neither a task nor a cancellation")
    return read


def success(request_id: int, output: bytes) -> bytes:
    """Write the answer of a task that gave `output` (JSON)."""
    return _encode({"id": request_id, "err_msg": None, "output": msgspec.Raw(output)})


def failure(request_id: int, error: str) -> bytes:
    """Write the answer of a task that failed."""
    return _encode({"id": request_id, "err_msg": codec.plain(error), "output": None})


def detailed_failure(request_id: int, error: str, *, detail: str, is_last: bool) -> bytes:
    """Write the same with what only a parent that named the stage understands."""
    texts = {"err_msg": codec.plain(error), "detail": codec.plain(detail)}
    fields: dict[str, object] = {"id": request_id, "output": None, **texts}
    return _encode({**fields, "last": True} if is_last else fields)


def lost(request_id: int, error: str) -> bytes:
    """Write the answer of a task whose process is gone; only for a parent that named the stage."""
    return _encode({"id": request_id, "err_msg": codec.plain(error), "output": None, "lost": True})


def at(request_id: int, host: str, pid: int) -> bytes:
    """Write which process works on a task; only for a parent that named the stage."""
    return _encode({"id": request_id, "at": At(codec.plain(host), pid)})


def progress(request_id: int, news: Progress) -> bytes:
    """Write how far a task is; only for a parent that named the stage."""
    if isinstance(news.waiting, str):
        news = msgspec.structs.replace(news, waiting=codec.plain(news.waiting))
    return _encode({"id": request_id, "progress": news})


def log(request_id: int, text: str) -> bytes:
    """Write a line for the task's log; only for a parent that named the stage."""
    return _encode({"id": request_id, "log": codec.plain(text)})


def is_success(line: bytes) -> bool:
    """Return whether a line is the answer of a task that gave an output."""
    read = read_line(line.rstrip(b"\n"))
    return isinstance(read, Answer) and read.error is None


def read_line(line: bytes) -> Answer | Report | Chatter | Garbled:
    """Classify a line on the child's stdout, after the first one.

    Processors exist whose libraries print to stdout, and the original only logs such lines. An answer that is damaged
    is another matter: its task would never end.
    """
    try:
        read = _line.decode(line)
    except msgspec.DecodeError:
        return _unreadable(line)
    has_output = bytes(read.output) not in {b"", b"null"}
    if read.err_msg is msgspec.UNSET and not bytes(read.output):
        news = Report(id=read.id, progress=_as(read.progress, Progress), log=_as(read.log, str), at=_as(read.at, At))
        if (news.progress, news.log, news.at) != (None, None, None):
            return news
    if isinstance(read.err_msg, str):
        is_last, is_lost = (_as(flag, bool) is True for flag in (read.last, read.lost))
        return Answer(id=read.id, error=read.err_msg, detail=_as(read.detail, str), is_last=is_last, is_lost=is_lost)
    if not has_output:
        return Answer(id=read.id, error="output field lost")
    return Answer(id=read.id, output=read.output)


def _as(value: msgspec.Raw, kind: type[T]) -> T | None:
    """Read an extension, or take it as absent."""
    try:
        return msgspec.json.decode(value, type=kind) if bytes(value) else None
    except msgspec.DecodeError:
        return None


def _unreadable(line: bytes) -> Chatter | Garbled:
    text = excerpt(line)
    try:
        value = _any.decode(line)
    except msgspec.DecodeError:
        damaged = line.lstrip().startswith(b'{"') or b'"err_msg"' in line or b'"output"' in line
        return Garbled(text=text) if damaged else Chatter(text=text)
    is_answer = isinstance(value, dict) and ("err_msg" in value or "output" in value)
    return Garbled(text=text) if is_answer else Chatter(text=text)


def excerpt(line: bytes) -> str:
    """Return the first 100 bytes of a line as text."""
    text = line[:_EXCERPT_BYTES].decode(errors="replace").rstrip()
    return text + "..." if len(line) > _EXCERPT_BYTES else text


class Lines:
    """Cut a stream of bytes into lines: of any length, or, for a log, where one has grown longer than `most_bytes`."""

    def __init__(self, most_bytes: int | None = None) -> None:
        self._most_bytes = most_bytes
        self._rest: list[bytes] = []
        self.pending_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes; return the lines that they complete, without LF."""
        *ends, rest = data.split(b"\n")
        lines = []
        for end in ends:
            lines.append(b"".join([*self._rest, end]))
            self._rest, self.pending_bytes = [], 0
        if rest:
            self._rest.append(rest)
            self.pending_bytes += len(rest)
        if self._most_bytes is not None and self.pending_bytes > self._most_bytes:
            lines.append(self.end())
        return lines

    def end(self) -> bytes:
        """Return what came after the last LF."""
        rest, self._rest, self.pending_bytes = b"".join(self._rest), [], 0
        return rest


def _encode(value: object) -> bytes:
    return msgspec.json.encode(value) + b"\n"

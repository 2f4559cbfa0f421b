"""What is wrong with window PoSts, for alerts: of each deadline and partition the job that was made last."""

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import field

from damocles.wire import wdpost
from damocles.wire.proving import Standing

_LIST = "damocles-manager util worker wdpost list"
_MOST_CHARACTERS = 200  # of one reason
_REASONS = 3  # shown; a lost store may have thousands


class Outline(msgspec.Struct, frozen=True, kw_only=True):
    """A job without its sectors, which are megabytes in a large partition."""

    id: str = field(name="Id")
    state: wdpost.State = field(name="State")
    deadline: int = field(name="DeadlineIdx")
    partitions: list[int] = field(name="Partitions")
    output: wdpost.Output | None = field(name="Output", default=None)
    error: str = field(name="ErrorReason", default="")
    worker: str = field(name="WorkerName", default="")
    finished_at: int = field(name="FinishedAt", default=0)
    created_at: int = field(name="CreatedAt")

    @property
    def subject(self) -> str:
        """The name of what is to be proved."""
        return f"deadline {self.deadline} partition {','.join(map(str, self.partitions))}"

    @property
    def faults(self) -> list[int]:
        """The sectors that could not be proved."""
        return (self.output.faults if self.output else None) or []


class Late(msgspec.Struct, frozen=True, kw_only=True):
    """A deadline on a real chain that is late, at risk or missed (`standing`), since it opened."""

    standing: Standing
    subject: str
    text: str
    since: float


Found = Iterator[tuple[Outline, str, float]]  # the job, what to say of it, and since when it is so


def failed(posts: Iterable[Outline]) -> Found:
    """Yield the jobs that nobody has a try left for."""
    for post in _latest(posts):
        if post.state is wdpost.State.FINISHED and post.error:
            text = f"window PoSt failed, last on {post.worker}: {_short(post.error)}; fix it, then: damocles-manager util worker wdpost reset {post.id}"
            yield post, text, float(post.finished_at)


def late(posts: Iterable[Outline]) -> Found:
    """Yield the jobs that are not proved yet."""
    for post in _latest(posts):
        if post.state is wdpost.State.FINISHED:
            continue
        who = f"{post.worker} works on it" if post.state is wdpost.State.RUNNING else "no worker has it"
        why = f"; the last try: {_short(post.error)}" if post.error else ""
        yield post, f"window PoSt is not proved yet, {who}{why}; see: {_LIST}", float(post.created_at)


def faulty(posts: Iterable[Outline]) -> Found:
    """Yield the jobs with sectors that could not be proved; the rest of them is proved by a job that follows."""
    for post in with_faults(posts):
        reasons = post.output.reasons if post.output else {}
        named = ", ".join(
            f"{number} ({_short(reasons.get(str(number), 'no reason given'))})" for number in post.faults[:_REASONS]
        )
        more = f" and {len(post.faults) - _REASONS} more" if len(post.faults) > _REASONS else ""
        text = f"{len(post.faults)} sectors could not be proved by {post.worker}: {named}{more}; see: {_LIST} --all --detail"
        yield post, text, float(post.finished_at)


def with_faults(posts: Iterable[Outline]) -> Iterable[Outline]:
    """Return likewise the last job of each that had sectors that could not be proved: the next one goes without them."""
    return _latest(post for post in posts if post.faults)


def _short(text: str) -> str:
    """Return the beginning of a text, so that there is room for what to do."""
    line = " ".join(text.split())
    return line if len(line) <= _MOST_CHARACTERS else line[: _MOST_CHARACTERS - 1] + "…"


def _latest(posts: Iterable[Outline]) -> Iterable[Outline]:
    """Return the last job of each deadline and partition, from jobs in the order in which they were made."""
    return {post.subject: post for post in posts}.values()

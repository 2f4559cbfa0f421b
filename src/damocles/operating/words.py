"""Words for people about threads, workers and what became of them: the same in a terminal and in a browser."""

from damocles.parameters import lacking
from damocles.text import units
from damocles.wire import control

NOTHING = "-"
_SAME_SECONDS = 3.0  # by which two clocks may differ
DOING = ("Paused", "Running", "Waiting", "Idle")  # states of threads, that which needs a person first
NEXT_SECTOR = "the next sector"  # what an idle thread waits for, or how that begins


def status(worker: control.WorkerStatus) -> str:
    """Return a worker's status, whether it is draining, and whether several workers share the name."""
    text = f"{worker.status}, draining" if worker.info.draining is True else worker.status
    return f"{text}, {len(worker.sharing)} workers" if worker.sharing else text


def place(state: str) -> int:
    """Return the place of a thread's state in a list, those that nobody knows at the end."""
    return DOING.index(state) if state in DOING else len(DOING)


def why(thread: control.ThreadDetail, now: float, *, full: bool = False) -> str:
    """Return for people why a thread does not go on: its error, or else what it waits for, or else how far its stage is."""
    lack = lacking.found(thread.info.last_error or "") if is_remedied(thread) else None
    text = thread.info.last_error or waits(thread, now) or progress(thread.progress)
    return lack.text_remedied if lack else brief_error(text, full=full)


def progress(news: control.Progress | None) -> str:
    """Return for people how far a stage is, how fast it goes on, and how long it still takes; empty if nobody knows."""
    if news is None or not (news.done or news.total):
        return ""
    in_bytes = news.unit == "B"
    done, total = (units.human_size(count) if in_bytes else str(count) for count in (news.done, news.total or 0))
    parts = [done if news.total is None else f"{done} of {total}"]
    if not in_bytes:
        parts[0] += f" {news.unit}"
    if news.per_second:
        if in_bytes:
            parts.append(f"{units.human_size(news.per_second)}/s")
        if news.total is not None:
            parts.append(f"{units.brief_duration((news.total - news.done) / news.per_second)} left")
    return ", ".join(parts)


def waits(thread: control.ThreadDetail, now: float) -> str:
    """Return for people what a thread waits for, for how long, and until when if that is known; may be empty."""
    waiting, parts = thread.waiting, [what] if (what := awaited(thread)) else []
    if waiting is not None and is_timed(thread):
        parts.append(f"for {units.brief_duration(max(0, int(now - waiting.since)))}")
        if waiting.until is not None:
            parts.append(f"until {units.brief_moment(waiting.until, now)}")
    if thread.pausing:
        parts.append(then_pauses(thread))
    return ", ".join(parts)


def awaited(thread: control.ThreadDetail) -> str:
    """Return for people what a thread waits for; may be empty."""
    if thread.waiting is None:
        return ""
    if not is_timed(thread):
        return "drained"
    what = thread.waiting.what
    return f"an operator's {what}" if what in {"resume", lacking.THERE_NOW} else what


def is_timed(thread: control.ThreadDetail) -> bool:
    """Return whether it says anything how long a thread waits: a drained one waits for ever."""
    return thread.waiting is not None and not (thread.draining and thread.waiting.what.startswith(NEXT_SECTOR))


def then_pauses(thread: control.ThreadDetail) -> str:
    """Return that a thread pauses at its next boundary."""
    return "then pauses (not recorded yet: a restart would forget it)" if thread.unrecorded else "then pauses"


def lasts(thread: control.ThreadDetail, now: float) -> str:
    """Return for people how long a thread has been in its present activity, by its worker's clock if reported."""
    began_at = began(thread, now)
    return NOTHING if began_at is None else units.brief_duration(max(0, int(now - began_at)))


def began(thread: control.ThreadDetail, now: float) -> float | None:
    """Return since when a thread has been in its present activity, by our clock."""
    elapsed = thread.info.thread_state.elapsed
    if elapsed is None:
        return thread.since or None
    # What is told in whole seconds leaps; the moment does not, as long as both clocks agree.
    return thread.since if abs(now - elapsed - thread.since) < _SAME_SECONDS else now - elapsed


def took(seconds: float | None) -> str:
    """Return for people how long something took."""
    return NOTHING if seconds is None else units.brief_duration(seconds)


def brief_error(text: str | None, *, full: bool = False) -> str:
    """Return an error as a table shows it: a known long one in short form, unless `full`."""
    lack = None if full or not text else lacking.found(text)
    return lack.text if lack else text or NOTHING


def is_remedied(thread: control.ThreadDetail) -> bool:
    """Return whether what a thread lacked has arrived since."""
    return thread.waiting is not None and thread.waiting.what == lacking.THERE_NOW

"""One sector's whole story: who works on it and what it waits for, the record, its files, each step that it has taken."""

import time
from collections.abc import Iterator

import msgspec

from damocles.cli.terminal import exits, tables
from damocles.cli.threads import records as record_facts
from damocles.cli.threads import views
from damocles.methods import acts
from damocles.operating import words
from damocles.wire import codec, control, records


class Place(msgspec.Struct, frozen=True):
    """Files of a sector in a persist store: of its replica (`normal`) or of its upgrade (`upgrade`)."""

    what: str
    store: str


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a sector; a worker asks for no record."""

    sector: str
    threads: list[control.ThreadDetail] = []
    record: records.SectorState | None = None
    messages: list[acts.SectorMessage] = []
    places: list[Place] = []
    history: list[control.HistoryEntry] = []
    silent: list[control.Silence] = []


def show(told: Story, *, full: bool, as_json: bool) -> int:
    """Print a story, and return the exit code.

    Raises:
        exits.NothingSelected: Nothing is known.
    """
    for silence in told.silent:
        exits.warning(f"{silence.worker}: {silence.reason}")
    if not (told.threads or told.record or told.history):
        raise exits.NothingSelected(f"{told.sector}: nobody who answered has a record of it")
    if as_json:
        exits.print_json(codec.to_builtins(told))
        return exits.OK
    tables.print_facts(facts(told, time.time()))
    if told.history:
        print()
        views.print_history(told.history, full=full)
    return exits.OK


def facts(told: Story, now: float) -> Iterator[tables.Fact]:
    """Yield names and values: the threads that hold it, its record, where its files are."""
    yield "Sector", told.sector
    for thread in told.threads:
        doing = f"{thread.info.thread_state.state} for {words.lasts(thread, now)} in {thread.info.job_state}"
        stage = f", stage {thread.info.job_stage}" if thread.info.job_stage else ""
        why = words.why(thread, now)
        reason = f": {why}" if why != words.NOTHING else ""
        worker = f"{thread.worker} " if thread.worker else ""
        yield "Thread", f"{worker}#{thread.info.index} {thread.info.location}, {doing}{stage}{reason}"
    if told.record is not None:
        yield from record_facts.facts(told.record, told.messages)
    for place in told.places:
        yield "Files", f"{place.what} in {place.store}"

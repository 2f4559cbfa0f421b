"""How far sectors came since the manager runs, counted for metrics from what workers report."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from damocles import exposition
from damocles.sealing.states import State

PREFIX = "damocles_manager"
_OUTCOMES = {State.Finished: "finished", State.Aborted: "aborted"}
_PROVEN = State.ProofSubmitted  # sealing alone ends from here; upgrades, rebuilds and the rest do not


class Progress:
    """What is counted of reports since unix time `since`: earlier ones were counted by the process before."""

    def __init__(self, since: float = 0.0) -> None:
        self._since = since
        self._ended: Counter[tuple[str, str]] = Counter()
        self._sealed: Counter[tuple[str]] = Counter()
        self._states = exposition.Histogram(
            f"{PREFIX}_state_seconds",
            "Seconds that sectors of all workers were in a state that they left on the usual way, with what they waited there.",
            ("state",),
            exposition.STAGE_BOUNDS_SECONDS,
        )

    def ended(self, event: Any) -> None:
        """Count a sector whose plan has ended; `event` is the row of the report."""
        if event.at < self._since:
            return
        miner = str(event.miner)
        self._ended[miner, _OUTCOMES[State(event.next)]] += 1
        self._sealed[miner,] += event.prev == _PROVEN and event.next == State.Finished

    def left(self, event: Any, seconds: float) -> None:
        """Count a state that a sector was in for `seconds` before the report; one that only its worker knows is none."""
        if event.at >= self._since and event.prev in State.__members__:
            self._states.observe((event.prev,), max(0.0, seconds))

    def families(self, sizes_bytes: Mapping[str, int]) -> Iterator[exposition.Family]:
        """Yield the counts; `sizes_bytes` are those of the sectors of each miner, which has a count of 0 at first."""
        none = {(miner, outcome): 0 for miner in sizes_bytes for outcome in _OUTCOMES.values()}
        yield exposition.counter(
            f"{PREFIX}_sectors_ended_total",
            "Sectors that are done with, also with an upgrade or a rebuild, by what their workers reported: `finished` or `aborted`.",
            none | self._ended,
            ("miner", "outcome"),
        )
        yield exposition.counter(
            f"{PREFIX}_sealed_bytes_total",
            "Bytes of the sectors that were sealed: proven, and reported as finished.",
            {(miner,): size * self._sealed[miner,] for miner, size in sizes_bytes.items()},
            ("miner",),
        )
        yield self._states.family()

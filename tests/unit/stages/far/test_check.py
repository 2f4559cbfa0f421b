"""What `ray status --config` says about a group, against a cluster that answers as the test says."""

from collections.abc import Callable

import anyio
import pytest

from damocles.stages.far import check, cluster, settings

GROUP = settings.Group(stage="c2", address="10.0.0.1:6379", resources={"GPU": 1})


class Full:
    """A cluster that is joined, and whose places are all in use."""

    def __init__(self, group: settings.Group, changed: Callable[[], None]) -> None:
        self.why = f"joining the Ray cluster at {group.address}"
        self.is_refused = False
        self._about = group.about
        self._changed = changed

    async def run(self) -> None:
        """Join, and find no place."""
        self.why = f"{self._about} of the Ray cluster, all in use"
        self._changed()

    async def slot(self) -> None:
        """Wait for a place."""
        await anyio.sleep_forever()


async def test_what_is_waited_for_at_the_end_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A try that takes too long says what it waits for then, not what it began with."""
    monkeypatch.setattr(cluster, "Cluster", Full)
    monkeypatch.setattr(check, "_SECONDS", 0.2)
    assert (False, "nothing has come of it within 0.2s: GPU = 1 of the Ray cluster, all in use") == await check.found(
        GROUP
    )

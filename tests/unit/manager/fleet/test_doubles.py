"""Workers that ping under one name."""

from damocles.manager.fleet import doubles, workers
from damocles.wire.fleet import WorkerInfo

PATIENCE_SECONDS = 75.0


class Pings:
    """Pings of workers named `w`, each from where it is said, 15 s after the one before."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0
        self.names = doubles.Namesakes()

    def come(self, dests: str) -> str:
        """Let pings come from these addresses (of a letter each); return the addresses that count."""
        for dest in dests:
            self.now += 15
            self.names.heard(workers.Row(WorkerInfo("w", dest), self.now), PATIENCE_SECONDS)
        return "".join(row.info.dest for row in self.names.of("w", self.now, PATIENCE_SECONDS))


def test_two_workers_that_live_are_noticed() -> None:
    """Each comes back after the other has pinged; that it happens once could be a restart there and back."""
    pings = Pings()
    assert "" == pings.come("aba")
    assert "ab" == pings.come("b")
    assert "ab" == pings.come("ababababa")


def test_a_worker_that_pings_far_more_often_is_noticed_too() -> None:
    """What counts is that both come back, not that they take turns."""
    assert "ab" == Pings().come("aaaabaaab")


def test_a_worker_that_moves_is_not_two() -> None:
    """It was started again on another port, there and back, and once more on a third."""
    pings = Pings()
    for dests in ("aaa", "bbb", "aaa", "c"):
        assert "" == pings.come(dests)


def test_the_name_is_one_worker_s_again_when_the_other_is_gone() -> None:
    """A namesake that was stopped, or has got a name of its own, counts until its pings are missing."""
    pings = Pings()
    assert "ab" == pings.come("abab")
    assert "ab" == pings.come("aaaa")
    assert "" == pings.come("aa")
    assert "" == pings.come("aaaaaaaa")


def test_what_was_removed_is_forgotten() -> None:
    """A removed name begins anew."""
    pings = Pings()
    pings.come("abab")
    pings.names.forget("w")
    assert "" == pings.come("a")

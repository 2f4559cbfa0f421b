"""The miners in one place."""

from dataclasses import dataclass

from damocles.manager import roster


@dataclass(frozen=True)
class Miner:
    """A miner that is nothing but its number."""

    id: int


ONE, TWO, THREE = Miner(1), Miner(2), Miner(3)


def test_who_asks_again_sees_the_new_ones() -> None:
    """Also through another look at them; whoever is in the middle of an iteration goes on with what was."""
    miners = roster.Roster([ONE, TWO])
    numbers = roster.Mapped(miners, lambda miner: miner.id)
    under_way = iter(miners)
    assert ONE == next(under_way)
    miners.replace([TWO, THREE])
    assert [TWO] == list(under_way)
    assert ([TWO, THREE], [2, 3]) == (list(miners), list(numbers))
    assert (2, 2) == (len(miners), len(numbers))
    assert (True, False, True, False) == (THREE in miners, ONE in miners, 3 in numbers, 1 in numbers)
    assert (THREE, None) == (roster.find(miners, 3), roster.find(miners, 1))


def test_none_are_none() -> None:
    """A roster without miners counts as empty."""
    assert not roster.Roster[Miner]()

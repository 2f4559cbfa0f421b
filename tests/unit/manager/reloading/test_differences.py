"""What differs between two configurations."""

from collections.abc import Mapping
from typing import Any

import pytest

from damocles.manager.config import load, model
from damocles.manager.reloading import differences

NODE = {"API": "http://node:1234"}


def config(*miners: Mapping[str, Any], **others: Any) -> model.Config:
    """Return a configuration with these miners."""
    return load.check({"Chain": {"Nodes": [NODE]}, "Miners": list(miners), **others}, "test")


ONE = config({"Actor": 1000}, {"Actor": 1001})


def test_nothing() -> None:
    """Of the same file nothing is different, nor of one with the same values in other words."""
    same = config({"actor": 1000, "PoSt": {"Enabled": True}}, {"Actor": 1001, "Commitment": {"Confidence": 10}})
    for after in (ONE, same):
        assert differences.Difference(added=[], changed={}, removed=[], needs_restart=[]) == differences.between(
            ONE, ONE, after
        )


def test_miners_come_and_go() -> None:
    """In the order of their files; another order is no difference."""
    after = config({"Actor": 1003}, {"Actor": 1001}, {"Actor": 1002})
    found = differences.between(ONE, ONE, after)
    assert ([1003, 1002], {}, [1000]) == (found.added, found.changed, found.removed)
    turned = differences.between(ONE, ONE, config({"Actor": 1001}, {"Actor": 1000}))
    assert ([], {}, []) == (turned.added, turned.changed, turned.removed)


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        ({"Commitment": {"Pre": {"Batch": {"MaxWait": "1m", "GasFeeCap": "7 nanoFIL"}}}},
         ["Commitment.Pre.Batch.GasFeeCap", "Commitment.Pre.Batch.MaxWait"]),
        ({"PoSt": {"Enabled": False, "Senders": ["f0100"]}}, ["PoSt.Senders", "PoSt.Enabled"]),
        ({"Sector": {"MinNumber": 7}, "Proof": {"Enabled": True}}, ["Sector.MinNumber", "Proof.Enabled"]),
        ({"SnapUp": {"Retry": {"MaxAttempts": 3}}}, ["SnapUp.Retry.MaxAttempts"]),
    ],
)  # fmt: skip
def test_keys_are_named_as_in_the_file(table: Mapping[str, Any], keys: list[str]) -> None:
    """Down to the innermost table, also those that inherit."""
    found = differences.between(ONE, ONE, config({"Actor": 1000, **table}, {"Actor": 1001}))
    assert {1000: sorted(keys)} == {miner: sorted(some) for miner, some in found.changed.items()}
    assert [] == found.needs_restart


def test_what_takes_a_restart_is_named_until_there_is_one() -> None:
    """Also when the file was read again meanwhile; a key that is put back is none any more."""
    miners = ({"Actor": 1000}, {"Actor": 1001})
    after = config(
        *miners,
        Daemon={"Listen": "127.0.0.1:9", "Dashboard": True},
        Common={"PersistStores": [{"Path": "/mnt"}]},
        Chain={"Nodes": [NODE], "Network": "mainnet"},
    )
    expected = ["Daemon.Listen", "Daemon.Dashboard", "Chain.Network", "Common.PersistStores"]
    assert expected == differences.between(ONE, ONE, after).needs_restart
    assert expected == differences.between(ONE, after, after).needs_restart
    assert [] == differences.between(ONE, after, ONE).needs_restart

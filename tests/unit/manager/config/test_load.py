"""The manager's configuration."""

from pathlib import Path

import pytest

from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.manager.config import load, model

LEAST = """
[Chain]
[[Chain.Nodes]]
API = "/ip4/127.0.0.1/tcp/1234/http"
[[Miners]]
Actor = 1002
"""


def _read(tmp_path: Path, text: str) -> model.Config:
    file = tmp_path / load.FILE_NAME
    file.write_text(text)
    return load.load(file)


def test_defaults(tmp_path: Path) -> None:
    """What is not said is as in the original."""
    config = _read(tmp_path, LEAST)
    (node,), (miner,) = config.chain.nodes, config.miners
    assert (node.api, node.token_file) == ("http://127.0.0.1:1234/rpc/v1", None)
    assert (miner.sector.above, miner.sector.max_number, miner.sector.lifetime_days) == (0, None, 540)
    assert (miner.commitment.pre.batch.threshold, miner.commitment.prove.batch.threshold) == (2, 4)
    assert miner.commitment.pre.gas_fee_cap == Amount.parse("5 nanoFIL")


def test_case_does_not_matter(tmp_path: Path) -> None:
    """A key has any case, as in the original, and keys of all its tables are known."""
    text = LEAST.lower() + (
        '[miners.Sector]\nminnumber = 7\n[miners.Post]\nStrictCheck = true\n[miners.SNAPUP.Retry]\nAPIFailureWait = "3m"\n'
        '[miners.Commitment.Pre]\nsender = "f01001"\nSenders = ["f01001", "f01003"]\ngasfeecap = ""\n'
        '[miners.Commitment.Pre.Batch]\nMaxWait = "1h30m"\n'
    )
    (miner,) = _read(tmp_path, text).miners
    pre = miner.commitment.pre
    assert pre.accounts == (Address.of_id(1001), Address.of_id(1003))
    assert (miner.sector.above, pre.gas_fee_cap, pre.batch.max_wait) == (7, None, 5400)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[Chains]\n", 'Chains: there is no such key; did you mean "Chain"?'),
        (LEAST + "[Miners.Sector]\nMaxNumbr = 3\n", 'Miners[0].Sector.MaxNumbr: there is no such key; did you mean "MaxNumber"?'),
        (LEAST + '[Miners.Sector]\nMaxNumber = "3"\n', "Miners[0].Sector.MaxNumber: expected a whole number, without quotes"),
        (LEAST + "[Miners.SnapUp]\nGasFeeCap = 5\n", "Miners[0].SnapUp.GasFeeCap: expected an amount"),
        (LEAST + '[Miners.PoSt]\nSender = "f1abc"\n', "Miners[0].PoSt.Sender: 'f1abc' is no address"),
        (LEAST + "[[Miners]]\nActor = 1002\n", "the miner 1002 appears twice"),
        (LEAST.replace("Actor = 1002", ""), "Miners[0].Actor: is missing"),
        ("[[Miners]]\nActor = 1\n[Chain]\nNodes = []\n", "Chain.Nodes: expected at least one node"),
        (LEAST.replace("/ip4/127.0.0.1/tcp/1234/http", "eyJ.abc.d:/ip4/127.0.0.1/tcp/1"), "Chain.Nodes[0].API: "),
        ("[Chain\n", "manager.toml:1: is not TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong(tmp_path: Path, text: str, told: str) -> None:
    """Each problem names its key, and what to write instead."""
    with pytest.raises(load.ConfigError) as refused:
        _read(tmp_path, text)
    assert told in str(refused.value)


def test_all_at_once(tmp_path: Path) -> None:
    """Everything that is wrong is told, a line each, and no value that may be a secret."""
    with pytest.raises(load.ConfigError) as refused:
        _read(tmp_path, '[Chain]\nNetwork = 5\n[[Miners]]\nActr = 1\n[[Common.PersistStores]]\nPath = ""\n')
    assert str(refused.value).count("\n") == 4

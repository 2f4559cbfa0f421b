"""What is looked at before a manager starts on a chain: a line for each thing that would keep messages from landing."""

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.golden.chain import recordings
from tests.integration.lotus.replay import Replay, serve
from tests.integration.lotus.test_heads import made

from damocles.chain.addresses import Address
from damocles.manager.chain import opening
from damocles.manager.config import load
from damocles.manager.db import engine
from damocles.manager.errors import StartError
from damocles.testing.simulation import sham
from damocles.wire.sectors import SealProof

KEY = "t3rbeb2fanu6qitbgfrckijcudsrxghrlfscfuj6wx7lgy7pmhezwokvoz7uljznwb22ou3pddxycbgbak5l7q"
OTHER = str(Address(bytes([1]) + bytes(20)))
TOKEN = "eyJhbGciOi.eyJBbGxvdyI.c2lnbmF0dXJl"
PARAMS = {
    "NetworkName": "2k",
    "BlockDelaySecs": 4,
    "ConsensusMinerMinPower": "2048",
    "PreCommitChallengeDelay": 10,
    "ForkUpgradeParams": {},
}


@pytest.fixture
def replay() -> Replay:
    """Return a node that is well, with the miner t01002 and its worker's key."""
    node = Replay()
    node.load()
    head = made(1000, 999)
    head["Blocks"][0]["Timestamp"] = int(time.time())
    info = next(
        row["answer"]["result"]
        for row in recordings.rows("exchanges")
        if row["request"]["method"] == "Filecoin.StateMinerInfo" and row["request"]["params"] == ["t01002", None]
    )
    for method, result in {
        "Version": {"Version": "v1.36.2", "APIVersion": 131840, "BlockDelay": 4},
        "StateGetNetworkParams": PARAMS,
        "ChainHead": head,
        "StateNetworkVersion": 28,
        "AuthVerify": ["read", "write", "sign"],
        "StateAccountKey": KEY,
        "StateMinerInfo": info,
        "WalletHas": True,
        "WalletBalance": "1000000000000000000",
    }.items():
        node.answer(method, result)
    return node


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[engine.Database]:
    """Yield an empty database."""
    async with engine.open_sqlite(tmp_path / "manager.db") as made_database:
        yield made_database


async def _open(
    replay: Replay, database: engine.Database, tmp_path: Path, *, chain: str = "", miner: str = ""
) -> opening.Opened:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    async with serve(replay) as url:
        text = f'[Chain]\n{chain}\n[[Chain.Nodes]]\nAPI = "{url}"\nTokenFile = "{token}"\n[[Miners]]\nActor = 1002\n{miner}'
        file = tmp_path / "manager.toml"
        file.write_text(text)
        async with opening.open_chain(load.load(file), database, sham.ShamVerifier(), None, time.time) as opened:
            return opened


async def test_a_chain_opens(replay: Replay, database: engine.Database, tmp_path: Path) -> None:
    """Rules and miners are the chain's: nothing of them is configured."""
    opened = await _open(replay, database, tmp_path, chain='Network = "2k"')
    network, (miner,) = opened.chain.network, opened.miners
    assert (10, 900, 3780, 4.0) == (
        network.challenge_delay,
        network.ticket_lookback,
        network.ticket_max_age,
        network.block_seconds,
    )
    assert (1002, SealProof(5), 1000) == (miner.id, miner.proof, opened.chain.rounds.epoch)


Change = Callable[[Replay], Any]
_GONE = "failed to load miner actor: actor not found"


@pytest.mark.parametrize(
    ("change", "chain", "miner", "told"),
    [
        (None, 'Network = "mainnet"', "", "is on the network 2k, not on mainnet"),
        (lambda node: node.refuse("AuthVerify", "JWT Verification failed"), "", "", "does not accept our token"),
        (lambda node: node.answer("AuthVerify", ["read"]), "", "", "its token may only read, and write and sign is needed"),
        (lambda node: node.answer("ChainHead", made(5, 4)), "", "", "is out of step: its head 5 is"),
        (lambda node: node.refuse("StateMinerInfo", _GONE), "", "", "f01002 is no miner on this network"),
        (lambda node: node.answer("WalletBalance", "0"), "", "", "has no FIL and cannot pay for messages: send it some"),
        (lambda node: node.answer("WalletHas", False), "", "", "import one with `lotus wallet import`"),
        (lambda node: node.answer("StateNetworkVersion", 99), "", "", "the network has version 99, newer than this damocles"),
        (lambda node: node.faults.extend([(200, b"<html>")] * 9), "", "", "expected the JSON-RPC of Lotus, like http"),
        (lambda node: node.answer("StateAccountKey", lambda params: OTHER if params[0] == "f01003" else KEY),
            "", '[Miners.Commitment.Pre]\nSender = "f01003"\n', "f01003 is neither owner, worker nor a control address"),
    ],
)  # fmt: skip
async def test_what_is_in_the_way(  # noqa: PLR0917 (the columns of the table)
    replay: Replay,
    database: engine.Database,
    tmp_path: Path,
    change: Change | None,
    chain: str,
    miner: str,
    told: str,
) -> None:
    """A chain on which nothing could be sent is not opened, and a line says why and what to do."""
    if change is not None:
        change(replay)
    with pytest.raises(StartError) as refused:
        await _open(replay, database, tmp_path, chain=chain, miner=miner)
    (line,) = str(refused.value).splitlines()
    assert told in line


async def test_an_open_token_file(replay: Replay, database: engine.Database, tmp_path: Path) -> None:
    """A token that others may read is refused by its file."""
    token = tmp_path / "open"
    token.write_text(TOKEN)
    token.chmod(0o644)
    config = {"Chain": {"Nodes": [{"API": "127.0.0.1:1", "TokenFile": str(token)}]}, "Miners": [{"Actor": 1002}]}
    with pytest.raises(StartError, match="chmod 600"):
        async with opening.open_chain(load.check(config, "here"), database, sham.ShamVerifier(), None, time.time):
            pass

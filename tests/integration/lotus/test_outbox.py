"""The outbox through the client of Lotus, as a dialogue."""

import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from damocles import bls, signing
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.messages import SignatureType
from damocles.lotus import nodes
from damocles.lotus.places import Place
from damocles.manager.db import engine
from damocles.manager.outbox import lotus, node, orders, sending
from damocles.manager.outbox.fees import Policy

from .replay import Replay, serve

KEY = signing.PrivateKey(SignatureType.BLS, bls.new_key(bytes(32)))
SENDER = KEY.address
MINER = Address.of_id(1002)
POLICY = Policy(confidence=3, stuck_epochs=20)
WISH = orders.Wish(miner=1002, kind="pre-commit", to=MINER, method=28, params=b"\x81\x80", value=Amount(5))


class Chain:
    """What the node answers: a head that a test moves, and what it has executed."""

    def __init__(self, replay: Replay) -> None:
        self.height = 100
        self.pushed: list[dict[str, Any]] = []
        self.executed: dict[str, Any] | None = None  # a message's lookup
        replay.answer("StateGetNetworkParams", self._params)
        replay.answer("ChainHead", lambda _: self.tipset(self.height))
        replay.answer("ChainGetTipSetByHeight", lambda params: self.tipset(params[0]))
        replay.answer("StateGetActor", {"Code": {"/": "bafkqactqnrqwg2a"}, "Nonce": 7, "Balance": str(10**18)})
        replay.answer("MpoolGetNonce", 7)
        replay.answer("GasEstimateMessageGas", self._estimated)
        replay.answer("WalletSign", self._sign)
        replay.answer("MpoolPush", self._push)
        replay.answer("StateSearchMsg", lambda _: self.executed)

    def tipset(self, height: int) -> dict[str, Any]:
        """Return the tipset of an epoch, which is now."""
        cid = {"/": "bafy2bzacedx3dgrhxjvb5fzmtzfqvnfd7gsvgbvnzzhiorrwcpm6qx3sjbkaq"}
        block = {"Miner": "t01000", "Parents": [], "Height": height, "Timestamp": int(time.time())}
        return {"Cids": [cid], "Blocks": [{**block, "ParentBaseFee": "100"}], "Height": height}

    def _params(self, _: Any) -> dict[str, Any]:
        return {
            "NetworkName": "2k",
            "BlockDelaySecs": 4,
            "ConsensusMinerMinPower": "2048",
            "PreCommitChallengeDelay": 10,
            "ForkUpgradeParams": {},
        }

    def _estimated(self, params: list[Any]) -> dict[str, Any]:
        return {**params[0], "GasLimit": 1250, "GasFeeCap": "999", "GasPremium": "11"}

    def _sign(self, params: list[Any]) -> dict[str, Any]:
        data = bls.sign(KEY.secret, base64.b64decode(params[1]))
        return {"Type": 2, "Data": base64.b64encode(data).decode()}

    def _push(self, params: list[Any]) -> dict[str, str]:
        self.pushed.append(params[0]["Message"])
        cid: dict[str, str] = {"/": "bafy2bzacedx3dgrhxjvb5fzmtzfqvnfd7gsvgbvnzzhiorrwcpm6qx3sjbkaq"}
        return cid


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[engine.Database]:
    """Yield an empty database."""
    async with engine.open_sqlite(tmp_path / "manager.db") as made:
        yield made


@asynccontextmanager
async def outbox_of(database: engine.Database, replay: Replay) -> AsyncIterator[sending.Outbox]:
    """Yield the outbox of a database, which sends to a node."""
    async with serve(replay) as url, nodes.connect([Place(url=url)], pauses_seconds=(0,)) as made:
        terms = sending.Terms(senders=[SENDER], policy=POLICY)
        yield sending.Outbox(database, lotus.LotusNode(made), lambda *_: terms)


async def test_an_order_is_signed_recorded_pushed_and_looked_for(database: engine.Database) -> None:
    """Nonce and fees are ours, the key is the node's, and the receipt of this very message counts once it is deep."""
    replay = Replay()
    chain = Chain(replay)
    number = await database.write(lambda tx: orders.put(tx, WISH, 0.0))
    async with outbox_of(database, replay) as outbox:
        await outbox.turn()
        order = await database.read(lambda tx: orders.load(tx, number))
        assert (orders.State.SIGNED, SENDER, 7) == (order.state, order.sender, order.nonce)
        (pushed,) = chain.pushed
        assert (1250, "211", "11", 7, "5", 28) == tuple(
            pushed[name] for name in ("GasLimit", "GasFeeCap", "GasPremium", "Nonce", "Value", "Method")
        )

        receipt = {"ExitCode": 0, "Return": "ggGA", "GasUsed": 900, "EventsRoot": None}
        other = "bafy2bzaceb5wsmzmnqeukgdbhbhyvrxdglpjmlrbqkcaxjmt2c5dqdqjkqlie"
        chain.executed = {"Message": {"/": other}, "Receipt": receipt, "TipSet": [], "Height": 101, "ReturnDec": None}
        chain.height = 110
        await outbox.turn()
        assert (await database.read(lambda tx: orders.load(tx, number))).state is orders.State.SIGNED

        chain.executed = {**chain.executed, "Message": {"/": order.signed[0].cid}, "Height": 108}
        await outbox.turn()
        assert (await database.read(lambda tx: orders.load(tx, number))).state is orders.State.SIGNED
        chain.height = 111
        await outbox.turn()
    landed = await database.read(lambda tx: orders.load(tx, number))
    assert orders.State.LANDED is landed.state
    assert node.Receipt(epoch=108, exit_code=0, returned=b"\x82\x01\x80", gas_used=900) == landed.receipt


@pytest.mark.parametrize(
    ("text", "state", "why"),
    [
        ("message execution failed (exit=[ErrIllegalArgument(16)], vm error=[batch empty])", "refused", "batch empty"),
        (
            "message execution failed (exit=[SysErrInsufficientFunds(6)], vm error=[])",
            "wanted",
            "no sender has enough money",
        ),
    ],
)
async def test_what_would_fail_is_not_signed(database: engine.Database, text: str, state: str, why: str) -> None:
    """What the actor refuses is refused with its reason; what lacks money waits for it."""
    replay = Replay()
    Chain(replay)
    replay.refuse("GasEstimateMessageGas", text)
    number = await database.write(lambda tx: orders.put(tx, WISH, 0.0))
    async with outbox_of(database, replay) as outbox:
        await outbox.turn()
    order = await database.read(lambda tx: orders.load(tx, number))
    assert state == order.state
    assert why in order.reason + outbox.waiting.get(number, "")
    assert {"WalletSign", "MpoolPush"}.isdisjoint(replay.methods())


async def test_a_node_that_lacks_the_tipset_says_nothing_of_an_account(database: engine.Database) -> None:
    """Behind one address may be a node that has not seen the head yet: its sender is not taken for one without money."""
    replay = Replay()
    chain = Chain(replay)
    number = await database.write(lambda tx: orders.put(tx, WISH, 0.0))
    async with outbox_of(database, replay) as outbox:
        replay.refuse(
            "StateGetActor", "loading tipset {bafy2bzace}: get block bafy2bzace: ipld: could not find bafy2bzace"
        )
        with pytest.raises(node.Unavailable, match="could not find"):
            await outbox.turn()
        assert {} == outbox.waiting
    assert orders.State.WANTED is (await database.read(lambda tx: orders.load(tx, number))).state
    assert [] == chain.pushed

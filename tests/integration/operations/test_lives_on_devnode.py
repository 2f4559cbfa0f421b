"""What has to wait for epochs, end to end on a devnode: extend an active sector, compact partitions, change worker and beneficiary."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.devnode.helpers import MINER, WORKER, done, proved, view

from damocles.chain import methods
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.sealing import PoStPartition, PoStProof, SubmitWindowedPoSt
from damocles.cli.of_chain import acting
from damocles.devnode import serving
from damocles.devnode.node import Node as Devnode
from damocles.devnode.rules import Rules
from damocles.lotus.node import Node
from damocles.lotus.places import Place
from damocles.wire.codec import Blob, Rows

from .conftest import Farm, farming

REALLY = "--really-do-it"
OF = ("--miner", str(MINER))
OWNER, CLIENT = Address.of_id(100), Address.of_id(102)


@pytest.fixture
async def devnode() -> AsyncIterator[Devnode]:
    """Yield a devnode that takes any proof, and whose day is short."""
    async with serving.serving(Rules(window_epochs=15), accepts_any_proof=True) as made:
        await made.step(30)
        yield made


@pytest.fixture
async def farm_there(  # noqa: PLR0917, what it runs on
    devnode: Devnode,
    lotus: Node,
    place: Place,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    _quiet: None,
) -> AsyncIterator[Farm]:
    """Yield a manager that sends there by the worker's key."""
    monkeypatch.setattr(acting, "_LOOK_SECONDS", 0.01)
    key = await (await view(lotus)).key_of(WORKER)
    async with farming(place, key, tmp_path, capsys, devnode.step) as made:
        yield made


async def _acts(farm: Farm, *words: str, says: str) -> None:
    code, out, err = await farm.run(*words, *OF, REALLY)
    assert 0 == code, (words, out, err)
    assert says in out, (words, out)


async def _posted(devnode: Devnode, lotus: Node) -> int:
    """Let the deadline of sector 1 come and prove it; return its number once it has closed and is mutable."""
    deadline = (await (await view(lotus)).location(MINER, 1)).deadline
    while (now := await (await view(lotus)).period(MINER)).index != deadline or now.current_epoch < now.open + 2:
        await devnode.step()
    params = SubmitWindowedPoSt(
        deadline=deadline,
        partitions=Rows([PoStPartition(0)]),
        proofs=Rows([PoStProof(10, Blob(bytes(192)))]),
        chain_commit_epoch=now.open,
        chain_commit_rand=Blob(await (await view(lotus)).chain_commit(now.open)),
    )
    receipt = (await done(devnode, lotus, methods.SUBMIT_WINDOW_POST, params)).receipt
    assert 0 == receipt.exit_code
    await devnode.step(devnode.rules.window_epochs)
    return deadline


async def test_an_active_sector_is_extended_and_a_dead_one_compacted(
    farm_there: Farm, devnode: Devnode, lotus: Node
) -> None:
    """The extension is on the chain; a terminated sector has no record any more once its partition is compacted."""
    await proved(devnode, lotus, 1, 2)
    deadline = await _posted(devnode, lotus)
    before = await (await view(lotus)).sector(MINER, 1)
    assert before is not None
    await _acts(farm_there, "sealer", "sectors", "extend", "1", "--extension", "100000", says="1 of 1 sectors")
    after = await (await view(lotus)).sector(MINER, 1)
    assert after is not None
    assert before.expiration + 100_000 == after.expiration
    await _acts(farm_there, "sealer", "sectors", "terminate", "2", says="1 of 1 sectors are terminated")
    compact = ("sealer", "proving", "compact-partitions", "--deadline", str(deadline))
    code, _, err = await farm_there.run(*compact, *OF, REALLY)
    assert (1, True) == (code, "cannot compact deadline" in err)
    await devnode.step(devnode.rules.dispute_window)
    await _acts(farm_there, *compact, says="removes 1 dead sectors")
    assert await (await view(lotus)).sector(MINER, 2) is None
    assert await (await view(lotus)).sector(MINER, 1) is not None


async def test_a_worker_is_confirmed_and_a_beneficiary_approved(
    farm_there: Farm, devnode: Devnode, lotus: Node
) -> None:
    """A worker after 900 epochs and not before; a beneficiary once it has approved, then it gets what is withdrawn."""
    actor = ("sealer", "actor")
    await _acts(farm_there, *actor, "propose-change-worker", str(OWNER), says="can be confirmed")
    code, _, err = await farm_there.run(*actor, "confirm-change-worker", str(OWNER), *OF, REALLY)
    assert (1, True) == (code, "can be confirmed from epoch" in err)
    term = ("1.5", str(devnode.chain.head.height + 100_000))
    await _acts(farm_there, *actor, "propose-change-beneficiary", str(CLIENT), *term, says="has to approve it")
    await _acts(farm_there, *actor, "confirm-change-beneficiary", "--new-beneficiary", says=str(CLIENT))
    assert CLIENT == (await (await view(lotus)).info(MINER)).beneficiary
    had = (await (await view(lotus)).actor(CLIENT)).balance
    await _acts(farm_there, *actor, "withdraw", "0.5", "--beneficiary", says="0.5 FIL were paid out")
    assert (await (await view(lotus)).actor(CLIENT)).balance > had
    code, _, err = await farm_there.run(*actor, "repay-debt", *OF, REALLY)
    assert (1, True) == (code, "has no fee debt" in err)
    await devnode.step(900)
    await _acts(farm_there, *actor, "confirm-change-worker", str(OWNER), says=f"the worker is {OWNER}")
    assert OWNER == (await (await view(lotus)).info(MINER)).worker


async def test_a_debt_of_fees_is_shown_and_repaid(farm_there: Farm, devnode: Devnode, lotus: Node) -> None:
    """A miner whose money was all withdrawn owes its fees; its own balance cannot pay them, what is sent along can."""
    await proved(devnode, lotus, 1)
    actor = ("sealer", "actor")
    await _acts(farm_there, *actor, "withdraw", says="FIL were paid out")
    while not (debt := (await (await view(lotus)).state(MINER)).funds.fee_debt):
        await devnode.step(devnode.rules.window_epochs)
    code, _, err = await farm_there.run(*actor, "repay-debt", *OF, REALLY)
    assert (1, True) == (code, f"nothing to pay its debt of {debt} with" in err)
    code, out, _ = await farm_there.run(*actor, "repay-debt", "0.0000000000000001", *OF, "--dry-run")
    assert (0, True) == (code, f"{Amount(debt - 100)} stay owed" in out), out
    await _acts(farm_there, *actor, "repay-debt", "1", says="the fee debt is 0")

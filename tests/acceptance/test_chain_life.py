"""What follows a sector's proof, with real processes and real proofs: its upgrade, its extension, its end, and lost tipsets after each."""

import concurrent.futures
from typing import Any

import pytest

from damocles.chain import methods
from damocles.testing import farm
from damocles.testing.chain_farm import ChainFarm
from damocles.testing.farm import cli, wait_until
from damocles.wire import commitments
from damocles.wire.sectors import SectorID

from . import chain_scenarios, plan_farms
from .test_chain import make_allocation

_EXTENSION = 100_000
_MESSAGES = (
    methods.PRE_COMMIT, methods.PROVE_COMMIT, methods.PROVE_UPDATES, methods.EXTEND, methods.TERMINATE,
)  # fmt: skip


@pytest.mark.params
@pytest.mark.slow
@pytest.mark.timeout(3700)  # two SNARKs
@pytest.mark.usefixtures("update_parameters")
def test_a_sector_is_upgraded_extended_and_terminated(tmp_path, proof_for_chain):
    """Each message is executed once on the chain that stays, and what reported it landed means that chain."""
    with chain_scenarios.going_on(proof_for_chain, tmp_path, sealing="enable_deals = true") as f:
        allocation = make_allocation(f)
        assert f.manager is not None
        farm.stop(f.manager)
        f.start_manager("--deals", str(tmp_path / "deals"))

        (f.stores[0] / "config.toml").write_text('plan = "snapup"\n')  # from its next sector on
        f.start_worker()
        executed(f, 2, drop=False)
        wait_until(lambda: f.thread(0).plan == "snapup", "the sector is finished, and the thread goes over to upgrades")
        plan_farms.ask(f, "snap", "fetch", str(f.miner))
        executed(f, 3, drop=True)
        wait_until(lambda: f.events(0).count("Finalized") == 2, "the upgrade is finished")
        # Until then the proof may wait in the pool again, and the sector has no claim that an extension could name.
        wait_until(
            lambda: ["landed"] * 3 == [row["state"] for row in f.orders()], "the upgrade is on the chain for good"
        )

        end = on_chain(f)["Expiration"]
        told = sent(f, 4, "extend", "1", "--extension", str(_EXTENSION), drop=True)
        assert "1 of 1 sectors" in told
        assert end + _EXTENSION == on_chain(f)["Expiration"]
        told = sent(f, 5, "terminate", "1", drop=False)
        assert "1 of 1 sectors are terminated" in told

        state, _ = f.check_messages(*(method.number for method in _MESSAGES))
        miner = state.miners[f.miner]
        (partition,) = miner.partitions()
        assert ([1], []) == (list(partition.all), list(partition.live))
        sector, record = miner.sectors[1], plan_farms.record(f, SectorID(f.miner, 1))
        assert record.upgraded_info is not None
        assert record.upgrade_public is not None
        assert record.upgraded_info.sealed_cid == sector.sealed_cid
        assert commitments.sealed_cid(record.upgrade_public.comm_r) == sector.key_cid
        assert 1 == state.registry.claims[allocation].sector


def on_chain(f: ChainFarm) -> dict[str, Any]:
    """Return what the chain has of the sector."""
    found: dict[str, Any] = f.ask_node("StateSectorGetInfo", f"t0{f.miner}", 1, None)
    return found


def executed(f: ChainFarm, count: int, *, drop: bool) -> None:
    """Wait until so many messages are executed, and abandon the tipset of the last one."""
    wait_until(lambda: f.next_nonce() == count, f"{count} messages are executed", plan_farms.PROVING_SECONDS)
    f.reorganise(drop=drop)


def sent(f: ChainFarm, count: int, *command: str, drop: bool) -> str:
    """Run a command that sends message `count`, and abandon that message's tipset; return what is reported in the end."""
    at = ("--miner", str(f.miner), "--listen", f"127.0.0.1:{f.manager_port}", "--really-do-it")
    with concurrent.futures.ThreadPoolExecutor(1) as runner:
        running = runner.submit(cli, "damocles-manager", "util", "sealer", "sectors", *command, *at)
        wait_until(lambda: running.done() or f.next_nonce() == count, f"{count} messages are executed")
        assert not running.done(), running.result().stdout
        f.reorganise(drop=drop)
        return running.result().stdout

"""A provider on a devnode, with real processes and real proofs: what its messages go through."""

import base64
import json
from typing import Any

import pytest

from damocles.chain import methods, tuples
from damocles.chain.bitfields import Bitfield
from damocles.chain.upkeep import CompactSectorNumbers
from damocles.devnode import beginnings
from damocles.testing.chain_farm import ChainFarm
from damocles.testing.farm import cli, wait_until

from . import plan_farms

PRE_COMMIT, PROVE_COMMIT = methods.PRE_COMMIT.number, methods.PROVE_COMMIT.number


def make_allocation(f: ChainFarm) -> int:
    """Let the client ask for a sector's worth of data, and offer that as a deal; return the number of the allocation."""
    payload, deals = f.base / "payload", f.base / "deals"
    payload.write_bytes(bytes(range(1, 255)) * 8)
    (made,) = json.loads(cli("damocles-manager", "mock-deals", str(deals), str(payload), "--ddo", "--json").stdout)
    allocation = f.ask_node(
        "DevnodeAllocate", f"t0{f.miner}", {"/": made["piece"]}, made["size"], 5000, prefix="Damocles"
    )
    (offer,) = json.loads((deals / "deals.json").read_text())
    offer |= {"AllocationID": allocation, "Client": f"t0{beginnings.CLIENT}"}
    (deals / "deals.json").write_text(json.dumps([offer]))
    return int(allocation)


@pytest.mark.params
@pytest.mark.slow
@pytest.mark.whole  # four SNARKs
@pytest.mark.timeout(7200)
@pytest.mark.usefixtures("aggregation_parameters")
def test_four_sectors_of_which_one_has_data(tmp_path):
    """They are proven by a pre-commit that was stuck, and by an aggregate, though each message's tipset was abandoned."""
    with ChainFarm(tmp_path, threads=4, max_sectors=4, batch=4, sealing="enable_deals = true") as f:
        f.start_devnode()
        allocation = make_allocation(f)
        f.start_manager("--deals", str(tmp_path / "deals"))
        f.ask_node("DevnodeBlockLimit", 0, prefix="Damocles")
        f.start_worker()
        wait_until(lambda: f.orders() and len(f.orders()[0]["cids"]) > 1, "the pre-commit is replaced", 300)
        f.ask_node("DevnodeBlockLimit", None, prefix="Damocles")
        wait_until(lambda: f.next_nonce() == 1, "the pre-commit is executed")
        f.reorganise(drop=True)
        wait_until(lambda: f.next_nonce() == 2, "the aggregate is executed", 4 * plan_farms.PROVING_SECONDS)
        f.reorganise(drop=False)
        wait_until(lambda: all("Finalized" in f.events(index) for index in range(4)), "the sectors are finished", 300)
        state, (_, proof) = f.check_messages(PRE_COMMIT, PROVE_COMMIT)
        params = methods.PROVE_COMMIT.read_params(bytes(proof.message.params))
        assert (4, 0, 1) == (len(params.activations), len(params.sector_proofs), params.aggregate_proof_type)
        assert {1, 2, 3, 4} == set(state.miners[f.miner].sectors)
        claimed = state.registry.claims[allocation]
        assert state.miners[f.miner].sectors[claimed.sector].verified_deal_weight > 0
        assert {allocation} == set(state.registry.claims)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_bad_sector_does_not_keep_the_others_of_its_batch(tmp_path, no_parameters):
    """A sector whose number somebody with the same key has used up is refused with the actor's words; the other one lands."""
    with ChainFarm(tmp_path, threads=2, max_sectors=2, batch=2, parameters=no_parameters, recover_interval="1h") as f:
        f.start_devnode()
        f.start_manager()
        f.ask_node("DevnodeFault", "GasEstimateMessageGas", {"kind": "error", "text": "not now"}, prefix="Damocles")
        f.start_worker()
        wait_until(lambda: all("PCSubmitted" in states(f, index) for index in range(2)), "both are handed in")
        use_up(f, 2)
        f.ask_node("DevnodeFault", "GasEstimateMessageGas", None, prefix="Damocles")

        def errors() -> list[str]:
            return sorted(thread.last_error or "" for thread in f.all_threads())

        wait_until(lambda: all(errors()), "both threads pause")
        snark, refused = sorted(errors(), key=lambda error: "already allocated" in error)
        assert "No cached parameters" in snark
        assert "already allocated" in refused
        with f.devnet() as (state, _):
            assert {1} == set(state.miners[f.miner].pre_committed)


def states(f: ChainFarm, index: int) -> list[str]:
    """Return the states that the sector of a thread was in."""
    return [entry.state for entry in f.history(index)]


def use_up(f: ChainFarm, number: int) -> None:
    """Let somebody with the manager's key renounce a sector's number for ever."""
    params = tuples.encode(CompactSectorNumbers(Bitfield([number])))
    message: dict[str, Any] = {
        "To": f"t0{f.miner}",
        "From": f.ask_node("StateMinerInfo", f"t0{f.miner}", None)["Worker"],
        "Method": methods.COMPACT_NUMBERS.number,
        "Params": base64.b64encode(params).decode(),
        "Value": "0",
    }
    f.ask_node("MpoolPushMessage", message, None)
    wait_until(lambda: f.next_nonce() == 1, "it is executed")

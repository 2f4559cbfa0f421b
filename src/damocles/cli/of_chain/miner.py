"""`damocles-manager util miner`: a miner as the chain has it."""

from dataclasses import dataclass
from typing import Any

from cyclopts import App

from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.cli.connecting import miners as configured
from damocles.cli.connecting import node_at
from damocles.cli.of_chain import words
from damocles.cli.terminal import exits
from damocles.cli.threads import options
from damocles.lotus import miners
from damocles.lotus.view import View
from damocles.text import units
from damocles.wire import codec

app = App(name="miner", help="Miners as the chain has them.", version_flags=[])
app.command("damocles.cli.of_chain.affairs:create", name="create", help="Create a miner.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    info: miners.Info
    state: miners.MinerState
    available: Amount
    power: miners.Power
    count: miners.SectorCount
    worker_key: Address
    clock: words.Clock


@app.command(
    help_epilogue=options.examples("damocles-manager util miner info f01000 --node http://127.0.0.1:1234"),
)
def info(
    miner: options.MaybeMiner = None,
    /,
    *,
    json: options.AsJson = False,
    at: node_at.At = node_at.USUAL,
) -> int:
    """Show a miner: its addresses, changes that are pending, power, sectors and money."""
    address = Address.of_id(configured.number(miner, at, option=""))
    seen = at.ask(lambda view: _see(view, address))
    if json:
        exits.print_json(_as_json(address, seen))
    else:
        words.facts(_lines(address, seen))
    return exits.OK


async def _see(view: View, miner: Address) -> _Seen:
    found = await view.info(miner)
    return _Seen(
        info=found,
        state=await view.state(miner),
        available=await view.available_balance(miner),
        power=await view.power(miner),
        count=await view.sector_count(miner),
        worker_key=await view.key_of(found.worker),
        clock=await words.clock(view),
    )


def _lines(address: Address, seen: _Seen) -> list[tuple[str, str]]:
    found = seen.info
    lines = [
        ("Miner", str(address)),
        ("Owner", str(found.owner)),
        ("Worker", f"{found.worker} ({seen.worker_key})"),
    ]
    if found.pending_owner is not None:
        lines.append(("PendingOwner", f"{found.pending_owner}, once it confirms"))
    if found.new_worker:
        lines += [
            ("NewWorker", str(found.new_worker)),
            ("WorkerChangeEpoch", seen.clock.at(found.worker_change_epoch)),
        ]
    lines.append((f"Controls({len(found.control_addresses)})", " ".join(map(str, found.control_addresses)) or "-"))
    lines += _beneficiary(found, seen.clock)
    lines += [
        ("PeerID", found.peer_id or "-"),
        (f"Multiaddrs({len(found.multiaddrs)})", " ".join(one.hex() for one in found.multiaddrs) or "-"),
        ("SectorSize", f"{units.human_size(found.sector_size_bytes)} ({found.sector_size_bytes})"),
        ("WindowPoStPartitionSectors", str(found.partition_sectors)),
        ("", ""),
        ("Power", _power(seen.power.miner.quality_adjusted, seen.power.total.quality_adjusted)),
        ("Raw", _power(seen.power.miner.raw, seen.power.total.raw)),
        ("Sectors", f"{seen.count.live} live, {seen.count.active} active, {seen.count.faulty} faulty"),
        ("", ""),
        *money(seen.state, seen.available),
    ]
    return lines


def _beneficiary(found: miners.Info, clock: words.Clock) -> list[tuple[str, str]]:
    lines = [("Beneficiary", str(found.beneficiary))]
    if (term := found.beneficiary_term) is not None and found.beneficiary != found.owner:
        lines += [
            ("BeneficiaryQuota", words.brief(term.quota)),
            ("BeneficiaryUsedQuota", words.brief(term.used_quota)),
            ("BeneficiaryExpiration", clock.at(term.expiration)),
        ]
    if (pending := found.pending_beneficiary) is not None:
        approved = [
            who
            for who, has in (("beneficiary", pending.approved_by_beneficiary), ("nominee", pending.approved_by_nominee))
            if has
        ]
        lines += [
            ("PendingBeneficiary", str(pending.new_beneficiary)),
            ("PendingQuota", words.brief(pending.new_quota)),
            ("PendingExpiration", clock.at(pending.new_expiration)),
            ("PendingApprovals", ", ".join(approved) or "none"),
        ]
    return lines


def money(state: miners.MinerState, available: Amount) -> list[tuple[str, str]]:
    """Return what a miner has, and what of it is bound; each in FIL for people."""
    funds = state.funds
    return [
        ("Balance", words.brief(state.balance)),
        ("PreCommit", words.brief(funds.pre_commit_deposits)),
        ("Pledge", words.brief(funds.pledge)),
        ("Vesting", words.brief(funds.locked)),
        ("FeeDebt", words.brief(funds.fee_debt)),
        ("Available", words.brief(available)),
    ]


def _power(of_miner: Amount, total: Amount) -> str:
    share = f" ({100 * int(of_miner) / int(total):.4f}%)" if total else ""
    return f"{units.human_size(of_miner)} / {units.human_size(total)}{share}"


def _as_json(address: Address, seen: _Seen) -> dict[str, Any]:
    made: dict[str, Any] = {"miner": str(address), "epoch": seen.clock.epoch}
    made |= {"info": codec.to_builtins(seen.info), "power": codec.to_builtins(seen.power)}
    return made | {"sectors": codec.to_builtins(seen.count), "money": money_json(seen.state, seen.available)}


def money_json(state: miners.MinerState, available: Amount) -> dict[str, str]:
    """Return the same in attoFIL, as decimal text."""
    funds = state.funds
    amounts = {
        "balance": state.balance,
        "pre_commit": funds.pre_commit_deposits,
        "pledge": funds.pledge,
        "vesting": funds.locked,
        "fee_debt": funds.fee_debt,
        "available": available,
    }
    return {name: amount.to_json() for name, amount in amounts.items()}

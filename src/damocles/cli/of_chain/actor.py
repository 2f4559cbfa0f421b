"""`damocles-manager util sealer actor`: money and addresses of a miner."""

from collections.abc import Iterator
from dataclasses import dataclass

from cyclopts import App

from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.cli.connecting import node_at
from damocles.cli.of_chain import miner as miners
from damocles.cli.of_chain import words
from damocles.cli.terminal import exits, tables, watching
from damocles.cli.threads import options
from damocles.lotus import errors
from damocles.lotus.miners import MinerState
from damocles.lotus.view import View

app = App(name="actor", help="Money and addresses of a miner.", version_flags=[])
control = App(name="control", help="Addresses that may send the miner's messages.", version_flags=[])
app.command(control)
_AFFAIRS = "damocles.cli.of_chain.affairs"
control.command(f"{_AFFAIRS}:set_control", name="set", help="Replace all control addresses.")
for _name, _function, _help in (
    ("withdraw", "withdraw", "Take money out of the miner."),
    ("add-balance", "add_balance", "Send the miner money."),
    ("repay-debt", "repay_debt", "Pay the miner's fee debt."),
    ("propose-change-worker", "propose_worker", "Ask for another worker."),
    ("confirm-change-worker", "confirm_worker", "Confirm the proposed worker."),
    ("set-owner", "set_owner", "Offer the miner to another owner."),
    ("confirm-owner", "confirm_owner", "Take over a miner that was offered."),
    ("propose-change-beneficiary", "propose_beneficiary", "Let another address have what is withdrawn."),
    ("confirm-change-beneficiary", "confirm_beneficiary", "Approve a change of the beneficiary."),
    ("compact-allocated", "compact_allocated", "Drop sector numbers."),
):
    app.command(f"{_AFFAIRS}:{_function}", name=_name, help=_help)


@app.command(help_epilogue=options.examples("damocles-manager util sealer actor balance --miner f01000"))
def balance(*, miner: words.Actor = None, json: options.AsJson = False, at: node_at.At = node_at.USUAL) -> int:
    """Show what the miner has, what of it is bound, and what can be withdrawn."""
    address = words.miner(miner, at)

    async def see(view: View) -> tuple[MinerState, Amount]:
        return await view.state(address), await view.available_balance(address)

    state, available = at.ask(see)
    if json:
        exits.print_json({"miner": str(address), **miners.money_json(state, available)})
    else:
        words.facts([("Miner", str(address)), *miners.money(state, available)])
    return exits.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    name: str
    id: Address
    key: Address | None
    balance: Amount


_TABLE = tables.Table[_Row](
    columns=("Name", "ID", "Key", "Balance"),
    cells=lambda row: [row.name, str(row.id), str(row.key or "-"), words.brief(row.balance)],
    plain_columns=("name", "ID", "key", "balance"),
)


@control.command(
    name="list", help_epilogue=options.examples("damocles-manager util sealer actor control list --miner f01000")
)
@watching.watchable
def list_(
    *,
    miner: words.Actor = None,
    full: options.Full = False,
    json: options.AsJson = False,
    at: node_at.At = node_at.USUAL,
) -> int:
    """List owner, worker, beneficiary and control addresses with their keys and balances."""
    rows = at.ask(lambda view: _rows(view, words.miner(miner, at)))
    if json:
        named = [(row, str(row.key) if row.key is not None else None) for row in rows]
        exits.print_json(
            [{"name": r.name, "id": str(r.id), "key": key, "balance": r.balance.to_json()} for r, key in named]
        )
    else:
        tables.show(_TABLE, rows, full=full)
    return exits.OK


async def _rows(view: View, miner: Address) -> list[_Row]:
    info = await view.info(miner)
    rows = []
    named: Iterator[tuple[str, Address | None]] = iter(
        [
            ("owner", info.owner),
            ("worker", info.worker),
            ("beneficiary", info.beneficiary),
            *((f"control-{index}", one) for index, one in enumerate(info.control_addresses)),
            ("pending-worker", info.new_worker),
            ("pending-owner", info.pending_owner),
        ]
    )
    for name, address in named:
        if address:
            rows.append(
                _Row(
                    name=name,
                    id=address,
                    key=await _key(view, address),
                    balance=(await view.actor(address)).balance,
                )
            )
    return rows


async def _key(view: View, address: Address) -> Address | None:
    """Return the key of an account; a multisig has none."""
    try:
        return await view.key_of(address)
    except errors.Refused:
        return None

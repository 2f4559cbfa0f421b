"""`damocles-manager util message`: the outcome of a message, and what gas costs."""

import time
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import App, Parameter, validators

from damocles.chain import cids, methods
from damocles.chain import exits as exit_codes
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.messages import Message
from damocles.cli.connecting import node_at
from damocles.cli.of_chain import words
from damocles.cli.terminal import exits, tables
from damocles.cli.threads import options
from damocles.lotus import errors
from damocles.lotus.answers import GasCost, Invocation, Lookup
from damocles.lotus.view import View
from damocles.wire import codec
from damocles.wire.codec import CID

app = App(name="message", help="Messages on the chain and in the node's pool, and what gas costs.", version_flags=[])
app.command("damocles.cli.of_chain.orders:list_", name="list", help="List messages that the manager is sending.")
app.command("damocles.cli.of_chain.orders:replace", name="replace", help="Raise the fees of a waiting message, now.")

_PERIOD_EPOCHS = 2880
_SHOWN_CHARACTERS = 2000

Cid = Annotated[str, Parameter(help="The message, like bafy2bza….")]
Back = Annotated[
    int,
    Parameter(name="--epochs", validator=validators.Number(gte=1), help="How far to look back, in epochs."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A message: what it is if the node has it, where it was executed if it was, and at what cost."""

    cid: CID
    message: Message | None
    landed: Lookup | None
    cost: GasCost | None
    error: str
    epoch: int
    base_fee: Amount

    @property
    def state(self) -> str:
        """Where it is: `OnChain`, `Pending`, `Replaced` or `Unknown`."""
        if self.landed is not None:
            return "OnChain" if self.landed.message == self.cid else "Replaced"
        return "Pending" if self.message is not None else "Unknown"


@app.command(
    help_epilogue=options.examples("damocles-manager util message search bafy2bza… --node http://127.0.0.1:1234")
)
def search(
    message: Cid, /, *, epochs: Back = _PERIOD_EPOCHS, json: options.AsJson = False, at: node_at.At = node_at.USUAL
) -> int:
    """Show what a message is, whether it is executed, with which result, and what it cost.

    Pending also means that it was executed longer ago than `--epochs`, or dropped from the pool.
    """
    cid = _cid(message)
    seen = at.ask(lambda view: _see(view, cid, epochs))
    _show(seen, as_json=json)
    return exits.OK if seen.message is not None or seen.landed is not None else exits.FAILED


@app.command(help_epilogue=options.examples("damocles-manager util message wait bafy2bza… --for 30m"))
def wait(
    message: Cid,
    /,
    *,
    confidence: Annotated[
        int, Parameter(validator=validators.Number(gte=0, lte=900), help="Epochs on top of the one that executed it.")
    ] = 5,
    longest: Annotated[str, Parameter(name="--for", help="How long to wait.")] = "1h",
    epochs: Back = _PERIOD_EPOCHS,
    json: options.AsJson = False,
    at: node_at.At = node_at.USUAL,
) -> int:
    """Wait until a message is executed, and show its result; an exit code other than 0 is a failure."""
    cid = _cid(message)
    deadline = time.monotonic() + options.seconds(longest, "--for")
    while True:
        seen = at.ask(lambda view: _see(view, cid, epochs))
        if seen.state == "Unknown":
            raise exits.Failed(f"the node has never seen the message {cid}: there is nothing to wait for")
        if seen.landed is not None and seen.epoch - seen.landed.height >= confidence:
            _show(seen, as_json=json)
            is_well = seen.state == "OnChain" and seen.landed.receipt.exit_code == exit_codes.OK
            return exits.OK if is_well else exits.FAILED
        if (left := deadline - time.monotonic()) <= 0:
            state = f"{seen.state}, executed at {seen.landed.height}" if seen.landed is not None else seen.state
            raise exits.Failed(f"{cid} is not {confidence} epochs deep after {longest}: {state} at {seen.epoch}")
        time.sleep(min(left, _between(at)))


def _between(at: node_at.At) -> float:
    """Return how long to wait before another look: a part of an epoch."""
    clock = at.ask(words.clock)
    return min(clock.epoch_seconds / 2, 10.0)


async def _see(view: View, cid: CID, epochs: int) -> _Seen:
    message, landed, replay = None, None, None
    try:
        message = await view.node.message(cid)
        landed = await view.search(cid, epochs)
    except errors.Unseen:
        pass
    except errors.Refused:  # of what is no message
        if message is not None:
            raise
    if landed is not None and landed.message == cid:
        replay = await view.node.call(Invocation, "StateReplay", None, cid, seconds=90.0)
    return _Seen(
        cid=cid,
        message=message,
        landed=landed,
        cost=replay.cost if replay else None,
        error=replay.error if replay else "",
        epoch=view.epoch,
        base_fee=view.tipset.base_fee,
    )


def _cid(text: str) -> CID:
    try:
        cids.to_bytes(CID(text))
    except ValueError as error:
        raise exits.WrongUsage(f"{text[:80]!r} is not the CID of a message: {error}") from error
    return CID(text)


def _show(seen: _Seen, *, as_json: bool) -> None:
    if as_json:
        exits.print_json(_as_json(seen))
        return
    lines = [("State", seen.state), ("Cid", str(seen.cid))]
    if (landed := seen.landed) is not None:
        if seen.state == "Replaced":
            lines.append(("ReplacedBy", str(landed.message)))
        lines += [
            ("Height", str(landed.height)),
            ("Tipset", " ".join(map(str, landed.tipset)) or "-"),
            (
                "ExitCode",
                f"{landed.receipt.exit_code}: {exit_codes.words(landed.receipt.exit_code).partition(': ')[2]}",
            ),
            ("GasUsed", f"{landed.receipt.gas_used}"),
        ]
        if seen.error:
            lines.append(("Error", " | ".join(line.strip() for line in seen.error.splitlines())))
    if seen.cost is not None:
        lines.append(("Cost", f"{words.brief(seen.cost.total)}, of which burnt {words.brief(seen.cost.base_fee_burn)}"))
    if seen.message is not None:
        lines += [("", ""), *_described(seen.message)]
    words.facts(lines)
    if seen.state == "Unknown":
        exits.hint("the node has never seen this message")
    if seen.state == "Pending" and seen.message is not None and seen.message.gas_fee_cap < seen.base_fee:
        exits.hint(
            f"its fee cap is below the base fee ({words.brief(seen.base_fee)}): it waits until that falls, or is replaced"
        )


def _described(message: Message) -> list[tuple[str, str]]:
    name, params = methods.described(message)
    text = params if isinstance(params, str) else codec.encode(params).decode() if params is not None else "-"
    if len(text) > _SHOWN_CHARACTERS:
        text = f"{text[:_SHOWN_CHARACTERS]}… ({len(text)} characters; --json has them all)"
    return [
        ("From", str(message.sender)),
        ("To", str(message.to)),
        ("Method", f"{name} ({message.method})"),
        ("Value", words.brief(message.value)),
        ("Nonce", str(message.nonce)),
        ("GasLimit", str(message.gas_limit)),
        ("GasFeeCap", words.brief(message.gas_fee_cap)),
        ("GasPremium", words.brief(message.gas_premium)),
        ("MostCost", words.brief(message.most_burnt)),
        ("Params", text),
    ]


def _as_json(seen: _Seen) -> dict[str, Any]:
    made: dict[str, Any] = {"state": seen.state, "cid": str(seen.cid), "epoch": seen.epoch}
    made["landed"] = codec.to_builtins(seen.landed)
    made["cost"] = codec.to_builtins(seen.cost)
    made["error"] = seen.error
    made["message"] = None
    if seen.message is not None:
        name, params = methods.described(seen.message)
        made["message"] = {**codec.to_builtins(seen.message), "MethodName": name, "ParamsDecoded": params}
    return made


_WITHIN_EPOCHS = (2, 5, 10)
# From a recorded devnet: a pre-commit of one sector, and a proof of one.
_TYPICAL_GAS = {"a pre-commit of one sector": 16_100_000, "a proof of one sector": 89_900_000}

_PREMIUMS = tables.Table[tuple[int, Amount]](
    columns=("Within", "Premium"), cells=lambda row: [f"{row[0]} epochs", words.brief(row[1])]
)


@app.command(help_epilogue=options.examples("damocles-manager util message gas --node http://127.0.0.1:1234"))
def gas(
    *,
    json: options.AsJson = False,
    at: node_at.At = node_at.USUAL,
) -> int:
    """Show the base fee, and which premium lands a message within some epochs."""
    base_fee, premiums = at.ask(_gas)
    if json:
        made = [{"within_epochs": within, "premium": premium.to_json()} for within, premium in premiums]
        exits.print_json({"base_fee": base_fee.to_json(), "premiums": made})
        return exits.OK
    words.facts([("BaseFee", f"{words.brief(base_fee)} per unit of gas")])
    tables.show(_PREMIUMS, premiums)
    premium = premiums[0][1]
    for what, used in _TYPICAL_GAS.items():
        print(f"{what} ({used / 1e6:.0f}M gas): about {words.brief(Amount(used * (base_fee + premium)))}")
    return exits.OK


async def _gas(view: View) -> tuple[Amount, list[tuple[int, Amount]]]:
    # Lotus looks at what others pay, and not at who asks.
    estimates = [
        (within, await view.node.estimate_premium(within, Address.of_id(0), 10_000_000)) for within in _WITHIN_EPOCHS
    ]
    return view.tipset.base_fee, estimates

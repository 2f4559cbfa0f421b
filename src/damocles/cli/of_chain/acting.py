"""Act on the chain through the manager: show the effect, have it confirmed, wait, and report the outcome."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from cyclopts import Parameter

from damocles import methods
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.bitfields import Bitfield
from damocles.cli.connecting import calls, manager_at
from damocles.cli.of_chain import words
from damocles.cli.terminal import exits
from damocles.cli.threads import options
from damocles.methods import acts
from damocles.methods.acts import Answer, Drafted, OrderSeen, Outcome
from damocles.wire import codec

T = TypeVar("T")

_PATIENCE_SECONDS = 180.0  # for the manager's own questions to its node, on top of the time-out
_LOOK_SECONDS = 2.0
_PARAMS_SHOWN = 600
_ENDED = frozenset({"landed", "refused"})


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """Whether to do it, and how long to stay."""

    dry_run: options.DryRun = False
    really_do_it: Annotated[
        bool, options.Flag(name="--really-do-it", help="Really send what costs money or cannot be undone.")
    ] = False
    send_only: Annotated[bool, options.Flag(name="--send-only", help="Do not wait until the messages have landed.")] = (
        False
    )
    longest: Annotated[str, Parameter(name="--for", help="How long to wait for that.")] = "2h"
    json: options.AsJson = False


USUAL = How()


def perform(act: acts.Upkeep | acts.Affair, how: How, at: manager_at.At, *, confirmed: bool = False) -> int:
    """Do an act, and return the exit code; without `--really-do-it` only what is `confirmed` anyway.

    Raises:
        exits.Failed: It was not done, or not all of it.
    """
    does = (how.really_do_it or confirmed) and not how.dry_run
    with at.call(_PATIENCE_SECONDS) as found:
        answer = _call(found, act, dry_run=not does)
        if not does:
            if how.json:
                exits.print_json(codec.to_builtins(answer))
            else:
                _show(answer)
            if answer.drafts and not how.dry_run:
                raise exits.WrongUsage("nothing was sent: check the above, then pass --really-do-it")
            return exits.OK if all(one.verdict.exit_code == 0 for one in answer.drafts) else exits.FAILED
        if not how.json:
            _show(answer)
        if how.send_only or not answer.orders:
            if how.json:
                exits.print_json(codec.to_builtins(answer))
            elif answer.orders:
                print(f"ordered: {_names(answer.orders)}; see `damocles-manager util message list`")
            return exits.OK
        seen = _landed(found, answer.orders, options.seconds(how.longest, "--for"), quiet=how.json)
        landed = [one.id for one in seen if one.state == "landed"]
        outcomes = found.call(methods.chain.outcomes(landed)) if landed else []
    return _end(answer, seen, outcomes, as_json=how.json)


def _call(found: calls.Manager, act: acts.Upkeep | acts.Affair, *, dry_run: bool) -> Answer:
    if isinstance(act, acts.Upkeep):
        return found.call(methods.chain.operate(acts.UpkeepWanted(act, dry_run)))
    return found.call(methods.chain.administer(acts.AffairWanted(act, dry_run)))


def _landed(found: calls.Manager, ids: Sequence[int], seconds: float, *, quiet: bool) -> list[OrderSeen]:
    """Return messages when they are over; or as they are when the time is."""
    deadline = time.monotonic() + seconds
    shown = ""
    while True:
        seen = found.call(methods.chain.orders(list(ids)))
        if all(one.state in _ENDED for one in seen) or time.monotonic() >= deadline:
            return seen
        text = "; ".join(describe(one) for one in seen if one.state not in _ENDED)
        if text != shown and not quiet:
            exits.hint(text)
            shown = text
        time.sleep(min(_LOOK_SECONDS, max(0.0, deadline - time.monotonic())))


def _end(answer: Answer, seen: Sequence[OrderSeen], outcomes: Sequence[Outcome], *, as_json: bool) -> int:
    is_well = all(one.state == "landed" and one.exit_code == 0 for one in seen) and all(one.done for one in outcomes)
    if as_json:
        made = {"orders": codec.to_builtins(seen), "outcomes": codec.to_builtins(outcomes)}
        exits.print_json({**codec.to_builtins(answer), **made})
        return exits.OK if is_well else exits.FAILED
    by_order = {one.order: one for one in outcomes}
    for one in seen:
        exits.print_line(describe(one))
        for line in by_order[one.id].lines if one.id in by_order else ():
            exits.print_line(f"  {line}")
    if not is_well:
        raise exits.Failed("not everything was done: see above")
    return exits.OK


def describe(one: OrderSeen) -> str:
    """Return how far a message has come, in a line."""
    who = f" by {one.sender} with nonce {one.nonce}" if one.sender is not None else ""
    why = f": {one.why}" if one.why else ""
    match one.state:
        case "landed":
            return (
                f"message {one.id} ({one.kind}) landed at epoch {one.landed_epoch} with exit code {one.exit_code},"
                f" {one.gas_used} gas: {one.cid}"
            )
        case "signed":
            return f"message {one.id} ({one.kind}) is sent{who}, as {one.cid}{why}"
        case state:
            return f"message {one.id} ({one.kind}) is {state}{why}"


def _names(ids: Sequence[int]) -> str:
    return f"message{'s' if len(ids) > 1 else ''} {', '.join(map(str, ids))}"


def _show(answer: Answer) -> None:
    for note in answer.notes:
        exits.print_line(note)
    if not answer.drafts:
        print("nothing to send")
    for number, one in enumerate(answer.drafts, start=1):
        print()
        title = f"{number} of {len(answer.drafts)}: " if len(answer.drafts) > 1 else ""
        words.facts([("Message", f"{title}{one.name} ({one.method})"), *_facts(one)])


def _facts(one: Drafted) -> list[tuple[str, str]]:
    text = codec.encode(one.params).decode() if one.params is not None else "-"
    if len(text) > _PARAMS_SHOWN:
        text = f"{text[:_PARAMS_SHOWN]}… ({len(text)} characters; --json has them all)"
    lines = [
        ("From", str(one.sender)),
        ("To", str(one.to)),
        ("Value", words.brief(one.value)),
        ("Params", text),
        ("Verdict", one.verdict.words),
    ]
    if one.verdict.error:
        lines.append(("Error", " | ".join(line.strip() for line in one.verdict.error.splitlines())))
    lines.append(("Gas", f"{one.verdict.gas_used} used on trial, limit {one.gas_limit or '-'}"))
    if one.gas_limit:
        lines += [
            ("GasFeeCap", f"{words.brief(one.gas_fee_cap)}, premium {words.brief(one.gas_premium)}"),
            ("MostCost", f"{words.brief(one.most_cost)}, value and gas"),
        ]
    return lines


def addresses(texts: Sequence[str], what: str) -> list[Address]:
    """Return addresses that were typed, also bare actor numbers; what is none is wrong usage."""
    try:
        return [Address.of_id(int(text)) if text.isdecimal() else Address.parse(text) for text in texts]
    except ValueError as error:
        raise exits.WrongUsage(f"{what}: {error}") from error


def amount(text: str, what: str) -> Amount:
    """Return an amount that was typed; what is none, or negative, is wrong usage."""
    try:
        made = Amount.parse(text)
    except ValueError as error:
        raise exits.WrongUsage(f"{what}: {error}") from error
    if made < 0:
        raise exits.WrongUsage(f"{what}: {text!r} is negative")
    return made


def numbers(texts: Sequence[str]) -> Bitfield:
    """Return sectors that were typed: `3`, `10-20`, or `1,2,5-9`."""
    found = Bitfield()
    for text in (part for one in texts for part in one.split(",") if part):
        first, dash, last = text.partition("-")
        known = [int(one) for one in ((first, last) if dash else (first, first)) if one.isdecimal()]
        if len(known) < 2 or not known[0] <= known[1] < 2**63:
            raise exits.WrongUsage(f"{text!r} is not a sector number: write 7, 10-20 or 1,2,5-9")
        found |= Bitfield.from_runs([known[0], known[1] - known[0] + 1])
    return found

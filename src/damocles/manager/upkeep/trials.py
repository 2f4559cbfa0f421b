"""What a message would cost, and the actor's answer, executed on trial at one tipset."""

from collections.abc import Sequence

from msgspec import structs

from damocles.chain import exits, methods
from damocles.chain.addresses import Address, Protocol
from damocles.chain.amounts import Amount
from damocles.chain.messages import Message
from damocles.lotus import errors
from damocles.lotus.answers import SendSpec
from damocles.lotus.view import View
from damocles.manager.outbox import fees, node
from damocles.manager.outbox.sending import Terms
from damocles.manager.upkeep.drafts import Draft, Refused
from damocles.methods.acts import Drafted, Verdict
from damocles.wire.codec import Blob


async def sender_of(draft: Draft, view: View, senders: Sequence[Address]) -> Address:
    """Return the key that is to send a message.

    Raises:
        Refused: It is none that signs, as that of a multisig, or none is configured.
    """
    wanted = draft.sender
    if wanted is None:
        if not senders:
            raise Refused(f"nobody is configured to send a message of the kind {draft.kind}")
        wanted = senders[0]
    if wanted.protocol in {Protocol.SECP256K1, Protocol.BLS}:
        return wanted
    try:
        return await view.key_of(wanted)
    except errors.Refused:
        # A multisig proposes messages; what it would propose can be read from a dry run.
        return wanted


async def drafted(draft: Draft, view: View, terms: Terms) -> Drafted:
    """Return a message decoded, with the actor's verdict, its gas and its fees as the outbox would choose them."""
    sender = await sender_of(draft, view, terms.senders)
    message = Message(to=draft.to, sender=sender, value=draft.value, method=draft.method, params=Blob(draft.params))
    name, params = methods.described(message)
    try:
        answer = await view.simulate(message)
    except errors.Refused as error:
        verdict = Verdict(exit_code=error.exit_code or -1, words="not executed", error=error.text, gas_used=0)
    else:
        code = answer.receipt.exit_code
        verdict = Verdict(
            exit_code=code,
            words=exits.words(code) if code else "exit code 0 (Ok): the actor accepts it",
            error=answer.error,
            gas_used=answer.receipt.gas_used,
        )
    made = Drafted(
        kind=draft.kind,
        to=draft.to,
        sender=sender,
        method=draft.method,
        name=name,
        params=params,
        params_hex=draft.params.hex(),
        value=draft.value,
        verdict=verdict,
    )
    return made if verdict.exit_code else await _priced(made, message, view, terms.policy)


async def _priced(made: Drafted, message: Message, view: View, policy: fees.Policy) -> Drafted:
    try:
        estimate = await view.node.estimate(message, SendSpec(), view.key)
    except errors.Refused as error:
        # With money and nonce regarded, as the pool does.
        words = "the actor accepts it, and the node does not estimate it"
        verdict = Verdict(
            exit_code=error.exit_code or -1, words=words, error=error.text, gas_used=made.verdict.gas_used
        )
        return structs.replace(made, verdict=verdict)
    measured = node.Estimate(gas_limit=estimate.gas_limit, premium=estimate.gas_premium)
    try:
        paid = fees.first(measured, view.tipset.base_fee, policy)
    except fees.TooDear as error:
        verdict = Verdict(
            exit_code=0, words=f"{made.verdict.words}; it waits: {error}", error="", gas_used=made.verdict.gas_used
        )
        return structs.replace(made, verdict=verdict, gas_limit=estimate.gas_limit, gas_premium=estimate.gas_premium)
    return structs.replace(
        made,
        gas_limit=paid.gas_limit,
        gas_fee_cap=paid.cap,
        gas_premium=paid.premium,
        most_cost=Amount(paid.most + message.value),
    )

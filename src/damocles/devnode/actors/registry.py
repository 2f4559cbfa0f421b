"""Verified data: who may give it, who has it, what clients ask providers to store.

The methods of the verified registry (`f06`) and of the datacap token (`f07`) are not those of a sealing manager, so that
their parameters stand here: a devnet has to have clients.
"""

from collections.abc import Sequence
from typing import NoReturn

from msgspec import field

from damocles.chain import cbor, exits, tuples
from damocles.chain.addresses import Address
from damocles.chain.amounts import ATTO, Amount
from damocles.chain.methods import Method
from damocles.chain.sealing import BatchReturn, Failure
from damocles.chain.tuples import Int, Tuple, Uint
from damocles.devnode import rules
from damocles.devnode.actors.draft import Draft, refuse
from damocles.devnode.state import REGISTRY, ROOT_ACCOUNT, Allocation, kind_of, with_
from damocles.wire.codec import CID, Blob, Rows


class Allowance(Tuple, frozen=True):
    """Bytes that somebody may give away, or use."""

    address: Address = field(name="Address")
    bytes: Amount = field(name="Allowance")


class AllocationRequest(Tuple, frozen=True, kw_only=True):
    """Data that a provider is asked to store; terms and expiration in epochs."""

    provider: Uint = field(name="Provider")
    data: CID = field(name="Data")
    size_bytes: Uint = field(name="Size")
    term_min: Int = field(name="TermMin")
    term_max: Int = field(name="TermMax")
    expiration: Int = field(name="Expiration")


class ClaimExtension(Tuple, frozen=True):
    """A claim that may be stored for longer."""

    provider: Uint = field(name="Provider")
    claim: Uint = field(name="Claim")
    term_max: Int = field(name="TermMax")


class AllocationRequests(Tuple, frozen=True):
    """What comes with a transfer of datacap to the registry."""

    allocations: Rows[AllocationRequest] = field(name="Allocations")
    extensions: Rows[ClaimExtension] = field(name="Extensions", default=Rows())


class AllocationsReturn(Tuple, frozen=True):
    """What became of the requests; the last are the numbers of the new allocations."""

    allocations: BatchReturn = field(name="AllocationResults")
    extensions: BatchReturn = field(name="ExtensionResults")
    new: Rows[Uint] = field(name="NewAllocations")


class Transfer(Tuple, frozen=True):
    """Give datacap, in bytes times 10^18; `operator_data` are the requests, in CBOR."""

    to: Address = field(name="To")
    amount: Amount = field(name="Amount")
    operator_data: Blob = field(name="OperatorData", default=Blob())


class TransferReturn(Tuple, frozen=True):
    """Datacap of both afterwards, and the return of the receiver in CBOR."""

    from_balance: Amount = field(name="FromBalance")
    to_balance: Amount = field(name="ToBalance")
    data: Blob = field(name="RecipientData")


class RemoveExpired(Tuple, frozen=True):
    """Give a client the datacap of expired allocations back: those named, or all."""

    client: Uint = field(name="Client")
    allocations: Rows[Uint] = field(name="AllocationIds", default=Rows())


class RemoveExpiredReturn(Tuple, frozen=True):
    """Which allocations were looked at, what became of each, and how many bytes were given back."""

    considered: Rows[Uint] = field(name="Considered")
    results: BatchReturn = field(name="Results")
    recovered: Amount = field(name="DataCapRecovered")


class ExtendTerms(Tuple, frozen=True):
    """Let claims be stored for longer, as their client."""

    terms: Rows[ClaimExtension] = field(name="Terms")


ADD_VERIFIER = Method("AddVerifier", 2, Allowance)
ADD_CLIENT = Method("AddVerifiedClient", 4, Allowance)
REMOVE_EXPIRED = Method("RemoveExpiredAllocations", 8, RemoveExpired, RemoveExpiredReturn)
EXTEND_TERMS = Method("ExtendClaimTerms", 11, ExtendTerms, BatchReturn)
TRANSFER = Method("Transfer", 80475954, Transfer, TransferReturn)


def add_verifier(draft: Draft, params: Allowance) -> None:
    """Let somebody give bytes away, as the root."""
    if params.bytes < rules.LEAST_ALLOCATION_BYTES:
        refuse(f"Allowance {int(params.bytes)} below minimum deal size for add verifier {params.address}")
    verifier = draft.resolve(params.address)
    if verifier == ROOT_ACCOUNT:
        refuse("Rootkey cannot be added as verifier")
    draft.caller_is(ROOT_ACCOUNT)
    draft.change_registry(verifiers=draft.registry.verifiers | {verifier: int(params.bytes)})


def add_client(draft: Draft, params: Allowance) -> None:
    """Give bytes to a client, as a verifier."""
    if params.bytes < rules.LEAST_ALLOCATION_BYTES:
        refuse(f"allowance {int(params.bytes)} below MinVerifiedDealSize for add verified client {params.address}")
    registry, client = draft.registry, draft.resolve(params.address)
    left = registry.verifiers.get(draft.sender)
    if left is None:
        refuse(f"caller f0{draft.sender} is not a verifier", exits.NOT_FOUND)
    if client == ROOT_ACCOUNT or client in registry.verifiers:
        refuse(f"verifier f0{client} cannot be added as a verified client")
    if params.bytes > left:
        refuse(f"add more DataCap {int(params.bytes)} for client than allocated {left}")
    draft.change_registry(
        verifiers=registry.verifiers | {draft.sender: left - int(params.bytes)},
        clients=registry.clients | {client: registry.clients.get(client, 0) + int(params.bytes)},
    )


def transfer(draft: Draft, params: Transfer) -> TransferReturn:
    """Turn datacap into allocations: it can only be given to the registry."""
    if params.amount % ATTO:
        refuse(
            f'state transaction failed: amount TokenAmount({int(params.amount)}) for "transfer" must be a multiple of {ATTO}'
        )
    amount, have = params.amount // ATTO, draft.registry.clients.get(draft.sender, 0)
    target = draft.resolve(params.to)
    if target != REGISTRY:
        refuse(
            f"state transaction failed: transfer not allowed from f0{draft.sender} to f0{target} (governor is f06)",
            exits.FORBIDDEN,
        )
    if amount > have:
        refuse(
            f"state transaction failed: error in underlying state negative balance caused by decreasing {draft.sender}'s"
            f" balance of {have} by {amount}",
            exits.INSUFFICIENT_FUNDS,
        )
    try:
        requests = tuples.decode(bytes(params.operator_data), AllocationRequests)
    except cbor.Malformed as exc:
        _of_hook(f"failed to decode allocation requests: {exc}", exits.UNREADABLE)
    if requests.extensions:
        _of_hook("a devnet extends no claims with datacap", exits.ILLEGAL_ARGUMENT)
    for request in requests.allocations:
        _check(draft, request)
    total = sum(request.size_bytes for request in requests.allocations)
    if total != amount:
        _of_hook(f"total allocation size {total} must match data cap amount received {amount}")
    first = draft.registry.next_allocation
    made = {
        first + at: Allocation(
            client=draft.sender, **{name: getattr(request, name) for name in request.__struct_fields__}
        )
        for at, request in enumerate(requests.allocations)
    }
    draft.change_registry(
        clients=draft.registry.clients | {draft.sender: have - amount},
        allocations=draft.registry.allocations | made,
        next_allocation=first + len(made),
    )
    returned = AllocationsReturn(BatchReturn(len(made)), BatchReturn(0), Rows(made))
    held = sum(allocation.size_bytes for allocation in draft.registry.allocations.values())
    return TransferReturn(Amount((have - amount) * ATTO), Amount(held * ATTO), Blob(tuples.encode(returned)))


def _of_hook(text: str, exit_code: int = exits.ILLEGAL_ARGUMENT) -> NoReturn:
    refuse(
        f'receiver hook error from Address("f06"): exit_code=ExitCode {{ value: {exit_code} }}, return_data=RawBytes {{  }}'
        f" ({exit_code})\n01: f06 (method 3726118371) -- {text}",
        exit_code,
    )


def _check(draft: Draft, request: AllocationRequest) -> None:
    least = rules.LEAST_ALLOCATION_BYTES
    if request.provider not in draft.state.miners:
        _of_hook(
            f"allocation provider {request.provider} must be a miner actor, was {kind_of(draft.state, request.provider)}"
        )
    if request.size_bytes < least:
        _of_hook(f"allocation size {request.size_bytes} below minimum {least}")
    if request.term_min < rules.TERM_MIN:
        _of_hook(f"allocation term min {request.term_min} below limit {rules.TERM_MIN}")
    if request.term_max > rules.TERM_MAX:
        _of_hook(f"allocation term max {request.term_max} above limit {rules.TERM_MAX}")
    if request.term_min > request.term_max:
        _of_hook(f"allocation term min {request.term_min} exceeds term max {request.term_max}")
    if request.expiration < draft.epoch:
        _of_hook(f"allocation expiration epoch {request.expiration} has passed current epoch {draft.epoch}")
    if request.expiration > draft.epoch + rules.ALLOCATION_LIMIT:
        _of_hook(f"allocation expiration {request.expiration} exceeds maximum {draft.epoch + rules.ALLOCATION_LIMIT}")


def remove_expired(draft: Draft, params: RemoveExpired) -> RemoveExpiredReturn:
    """Give datacap of expired allocations back, whoever asks."""
    registry = draft.registry
    of_client = {number: one for number, one in registry.allocations.items() if one.client == params.client}
    considered: Sequence[int] = params.allocations or [
        number for number, one in of_client.items() if one.expiration < draft.epoch
    ]
    codes, freed = [], []
    for number in considered:
        found = of_client.get(number)
        code = exits.NOT_FOUND if found is None else exits.FORBIDDEN if found.expiration >= draft.epoch else exits.OK
        codes.append(code)
        if found is not None and not code:
            freed.append(number)
    recovered = sum(of_client[number].size_bytes for number in freed)
    draft.change_registry(
        allocations={number: one for number, one in registry.allocations.items() if number not in freed},
        clients=registry.clients | {params.client: registry.clients.get(params.client, 0) + recovered},
    )
    failures = Rows(Failure(at, code) for at, code in enumerate(codes) if code)
    return RemoveExpiredReturn(Rows(considered), BatchReturn(len(freed), failures), Amount(recovered))


def extend_terms(draft: Draft, params: ExtendTerms) -> BatchReturn:
    """Let claims be stored for longer; those of other clients are failures in the return value."""
    codes = []
    for term in params.terms:
        claim = draft.registry.claims.get(term.claim)
        if claim is None or claim.provider != term.provider:
            codes.append(exits.NOT_FOUND)
        elif claim.client != draft.sender:
            codes.append(exits.FORBIDDEN)
        elif not claim.term_max <= term.term_max <= rules.TERM_MAX:
            codes.append(exits.ILLEGAL_ARGUMENT)
        else:
            codes.append(exits.OK)
            longer = with_(claim, term_max=term.term_max)
            draft.change_registry(claims=draft.registry.claims | {term.claim: longer})
    failures = Rows(Failure(at, code) for at, code in enumerate(codes) if code)
    return BatchReturn(len(codes) - len(failures), failures)


REGISTRY_METHODS = (
    (ADD_VERIFIER, add_verifier, 5_900_000),
    (ADD_CLIENT, add_client, 11_100_000),
    (REMOVE_EXPIRED, remove_expired, 11_300_000),
    (EXTEND_TERMS, extend_terms, 5_000_000),
)
DATACAP_METHODS = ((TRANSFER, transfer, 11_400_000),)

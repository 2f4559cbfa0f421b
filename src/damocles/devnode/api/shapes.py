"""Answers as Lotus words them: which lists are null, what is a text, with the letter of a test network."""

import base64
import functools
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from damocles.chain import cbor, cids
from damocles.chain.addresses import TESTNET, Address
from damocles.chain.messages import Message, SignatureType, SignedMessage
from damocles.chain.sealing import PreCommit
from damocles.devnode import tipsets
from damocles.devnode.actors.execution import Outcome
from damocles.devnode.chain import Change
from damocles.devnode.state import Account, Miner, Sector, State, kind_of
from damocles.devnode.tipsets import TipSet
from damocles.wire.codec import CID

UNDEFINED = "<empty>"
NETWORK_ACTORS = 18
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def link(cid: str) -> dict[str, str]:
    """Return a CID."""
    return {"/": str(cid)}


def text(address: Address) -> str:
    """Return an address."""
    return address.text(TESTNET)


def of_id(number: int) -> str:
    """Return the address of an actor by its number."""
    return text(Address.of_id(number))


def octets(data: bytes) -> str | None:
    """Return bytes, null for none."""
    return base64.b64encode(data).decode() if data else None


def peer_id(raw: bytes) -> str | None:
    """Return the id of a peer in base 58, null for none."""
    number, made = int.from_bytes(raw, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        made = _BASE58[digit] + made
    return "1" * (len(raw) - len(raw.lstrip(b"\0"))) + made if raw else None


def invented(what: str) -> CID:
    """Return a CID that names nothing, always the same for a name."""
    return cids.of_object(cbor.encode(what))


@functools.cache
def code(name: str) -> CID:
    """Return the code CID of a kind of actor; a devnet's own, so that nobody takes it for another network's."""
    digest = hashlib.blake2b(f"damocles devnet {name} v{NETWORK_ACTORS}".encode(), digest_size=32).digest()
    return cids.from_bytes(bytes.fromhex("0155a0e40220") + digest)


def message(of: Message) -> dict[str, Any]:
    """Return a message."""
    return {
        "Version": of.version,
        "To": text(of.to),
        "From": text(of.sender),
        "Nonce": of.nonce,
        "Value": of.value.to_json(),
        "GasLimit": of.gas_limit,
        "GasFeeCap": of.gas_fee_cap.to_json(),
        "GasPremium": of.gas_premium.to_json(),
        "Method": of.method,
        "Params": of.params.to_json(),
        "CID": link(of.cid),
    }


def signed_message(of: SignedMessage) -> dict[str, Any]:
    """Return a signed message."""
    signature = {"Type": int(of.signature.type), "Data": octets(of.signature.data)}
    return {"Message": message(of.message), "Signature": signature, "CID": link(of.cid)}


def receipt(of: Outcome) -> dict[str, Any]:
    """Return a receipt."""
    return {
        "ExitCode": of.exit_code,
        "Return": octets(of.returned),
        "GasUsed": of.gas_used,
        "EventsRoot": None,
    }


def invocation(of: Message, outcome: Outcome, cid: CID | None) -> dict[str, Any]:
    """Return what came of a message that was executed for its verdict (no `cid`), or again."""
    total = outcome.base_fee_burn + outcome.overestimation_burn + outcome.tip
    paid = cid is not None
    return {
        "MsgCid": link(cid or of.cid),
        "Msg": message(of),
        "MsgRct": receipt(outcome),
        "GasCost": {
            "Message": link(cid) if cid is not None else None,
            "GasUsed": str(outcome.gas_used if paid else 0),
            "BaseFeeBurn": str(outcome.base_fee_burn),
            "OverEstimationBurn": str(outcome.overestimation_burn),
            "MinerPenalty": "0",
            "MinerTip": str(outcome.tip),
            "Refund": str(outcome.refund),
            "TotalCost": str(total),
        },
        "ExecutionTrace": {
            "Msg": {"From": text(of.sender), "To": text(of.to), "Method": of.method, "Value": of.value.to_json()},
            "Subcalls": None,
        },
        "Error": outcome.error,
        "Duration": 0,
    }


def tipset(of: TipSet, secret: bytes, miner: int) -> dict[str, Any]:
    """Return a tipset."""
    return {"Cids": [link(of.key)], "Blocks": [block(of, secret, miner)], "Height": of.height}


def block(of: TipSet, secret: bytes, miner: int) -> dict[str, Any]:
    """Return the header of the one block of a tipset, made by a miner. What a block of the devnet itself does not have is made up."""
    if of.header is not None:
        made: dict[str, Any] = plain(of.header)
        return made
    first = of.parent is None
    proof = octets(hashlib.blake2b(b"election" + of.ticket).digest())
    return {
        "Miner": of_id(0) if first else of_id(miner),
        "Ticket": {"VRFProof": octets(of.ticket)},
        "ElectionProof": {"WinCount": 0 if first else 1, "VRFProof": None if first else proof},
        "BeaconEntries": [beacon_entry(secret, of.height)],
        "WinPoStProof": None if first else [{"PoStProof": 0, "ProofBytes": octets(b"valid proof")}],
        "Parents": [link(of.parent or invented("before the first tipset"))],
        "ParentWeight": str(of.height),
        "Height": of.height,
        "ParentStateRoot": link(of.state_root),
        "ParentMessageReceipts": link(invented(f"receipts {of.key}" if of.outcomes else "no receipts")),
        "Messages": link(invented(f"messages {of.key}" if of.messages else "no messages")),
        "BLSAggregate": None if first else {"Type": 2, "Data": octets(bytes([0xC0]) + bytes(95))},
        "Timestamp": of.timestamp,
        "BlockSig": None if first else {"Type": 2, "Data": octets(hashlib.blake2b(of.ticket).digest() + of.ticket)},
        "ForkSignaling": 0,
        "ParentBaseFee": str(of.base_fee),
    }


def beacon_entry(secret: bytes, epoch: int) -> dict[str, Any]:
    """Return an entry of the beacon."""
    return {"Round": epoch, "Data": octets(tipsets.beacon_entry(secret, epoch))}


def changes(of: Iterable[Change], secret: bytes, miner: int) -> list[dict[str, Any]]:
    """Return changes of the head."""
    return [{"Type": change.type, "Val": tipset(change.tipset, secret, miner)} for change in of]


def block_messages(of: Sequence[SignedMessage]) -> dict[str, Any]:
    """Return the messages of a block, by the kind of their signatures."""
    bls = [one for one in of if one.signature.type is SignatureType.BLS]
    secp = [one for one in of if one.signature.type is not SignatureType.BLS]
    return {
        "BlsMessages": [message(one.message) for one in bls],
        "SecpkMessages": [signed_message(one) for one in secp],
        "Cids": [link(one.cid) for one in (*bls, *secp)],
    }


def kinds_of(of: Sequence[SignedMessage]) -> dict[str, Any]:
    """Return the ids of the messages of a block that is handed in, by the kind of their signatures."""
    bls = [link(one.cid) for one in of if one.signature.type is SignatureType.BLS]
    secp = [link(one.cid) for one in of if one.signature.type is not SignatureType.BLS]
    return {"BlsMessages": bls or None, "SecpkMessages": secp or None}


def actor(state: State, number: int) -> dict[str, Any]:
    """Return an actor."""
    found: Account | Miner = state.miners.get(number) or state.account(number)
    return {
        "Code": link(code(kind_of(state, number))),
        "Head": link(invented(f"head of {number} {found.balance}")),
        "Nonce": found.nonce if isinstance(found, Account) else 0,
        "Balance": str(found.balance),
        "DelegatedAddress": None,
    }


def pre_commit(of: PreCommit) -> dict[str, Any]:
    """Return what was pre-committed."""
    return {
        "SealProof": of.seal_proof,
        "SectorNumber": of.sector_number,
        "SealedCID": link(of.sealed_cid),
        "SealRandEpoch": of.seal_rand_epoch,
        "DealIDs": list(of.deal_ids) or None,
        "Expiration": of.expiration,
        "UnsealedCid": None if of.unsealed_cid is None else link(of.unsealed_cid),
    }


def sector(of: Sector) -> dict[str, Any]:
    """Return a sector."""
    return {
        "SectorNumber": of.number,
        "SealProof": of.seal_proof,
        "SealedCID": link(of.sealed_cid),
        "Activation": of.activation,
        "Expiration": of.expiration,
        "DealWeight": str(of.deal_weight),
        "VerifiedDealWeight": str(of.verified_deal_weight),
        "InitialPledge": str(of.pledge),
        "ExpectedDayReward": None,
        "ExpectedStoragePledge": None,
        "PowerBaseEpoch": of.power_base_epoch,
        "ReplacedDayReward": None,
        "SectorKeyCID": None if of.key_cid is None else link(of.key_cid),
        "Flags": 1,
        "DailyFee": str(of.daily_fee),
    }


def plain(value: Any) -> Any:
    """Return a value of the chain's formats as the API has it: addresses with the letter of a test network."""
    if isinstance(value, Address):
        return text(value)
    if isinstance(value, msgspec.Struct):
        fields = msgspec.structs.fields(value)
        return {field.encode_name: plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, tuple):
        return [plain(inner) for inner in value] or None
    to_json = getattr(value, "to_json", None)
    return value if to_json is None else to_json()

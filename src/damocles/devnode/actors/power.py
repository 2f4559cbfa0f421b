"""Make miners."""

import hashlib

from damocles.chain import exits
from damocles.chain.addresses import Address, Protocol
from damocles.chain.ownership import CreateMiner, CreateMinerReturn
from damocles.devnode import rules
from damocles.devnode.actors.draft import Draft, refuse
from damocles.devnode.rules import Rules
from damocles.devnode.state import WINDOW_PROOFS, Miner, with_
from damocles.wire.codec import Blob
from damocles.wire.sectors import SectorSize


def create_miner(draft: Draft, params: CreateMiner) -> CreateMinerReturn:
    """Make a miner, whose deposit comes with the message."""
    owner, worker = draft.resolve(params.owner), draft.resolve(params.worker)
    for number in (owner, worker):
        if draft.state.account(number).key is None:
            refuse("owner and worker must be accounts")
    key = draft.state.account(worker).key
    if key is None or key.protocol is not Protocol.BLS:
        refuse(f"worker account {worker} must have BLS pubkey, was {key[0] if key else 0}")
    if params.window_post_proof_type not in WINDOW_PROOFS:
        refuse(f"proof type {params.window_post_proof_type} not allowed")
    deposit = rules.creation_deposit(draft.rules.sector_bytes)  # the API tells it without asking for the size
    if draft.value < deposit:
        refuse(
            "send aborted with code 19 (19)\n01: f01 (method 2) -- constructor failed: send aborted with code 19 (19)\n"
            f"02: f0{draft.state.next_id} (method 1) -- not enough balance to lock for create miner deposit: sent balance"
            f" {draft.value} < deposit {deposit}",
            exits.INSUFFICIENT_FUNDS,
        )
    number = draft.state.next_id
    robust = robust_address(number, owner, draft.epoch)
    miner = Miner(
        robust=robust,
        owner=owner,
        worker=worker,
        beneficiary=owner,
        window_post_proof=params.window_post_proof_type,
        offset=int.from_bytes(hashlib.blake2b(robust + b"%d" % draft.epoch, digest_size=8).digest(), "big")
        % draft.rules.period_epochs,
        locked=deposit,
        peer_id=params.peer_id,
        multiaddrs=tuple(Blob(one) for one in params.multiaddrs),
    )
    draft.state = with_(
        draft.state,
        miners={**draft.state.miners, number: miner},
        ids={**draft.state.ids, robust.text(): number},
        next_id=number + 1,
    )
    draft.move(draft.receiver, number, draft.value)
    return CreateMinerReturn(Address.of_id(number), robust)


def robust_address(number: int, owner: int, epoch: int) -> Address:
    """Return the address of a new actor that is not its number."""
    digest = hashlib.blake2b(b"miner %d %d %d" % (number, owner, epoch), digest_size=20).digest()
    return Address(bytes([Protocol.ACTOR]) + digest)


def window_proof(of: Rules) -> int:
    """Return the number of the window PoSts of the first miner."""
    return WINDOW_PROOFS[list(SectorSize).index(SectorSize(of.sector_bytes))]

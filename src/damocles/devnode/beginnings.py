"""How a devnet begins, and how one that was stopped goes on."""

import secrets
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import msgspec

from damocles.chain.amounts import ATTO
from damocles.chain.messages import SignatureType
from damocles.devnode import tipsets, verifying, wallet
from damocles.devnode.actors import power
from damocles.devnode.chain import Chain
from damocles.devnode.node import Node
from damocles.devnode.rules import Rules
from damocles.devnode.state import FIRST_ACCOUNT, ROOT_ACCOUNT, Account, Miner, Registry, State
from damocles.devnode.store import FILE_NAME, Store, Unusable
from damocles.signing import PrivateKey
from damocles.wire.codec import CID

OWNER, WORKER, CLIENT, VERIFIER = range(FIRST_ACCOUNT, FIRST_ACCOUNT + 4)
_MONEY = {
    OWNER: 50_000_000 * ATTO,
    WORKER: 1_000_000 * ATTO,
    CLIENT: 1_000_000 * ATTO,
    VERIFIER: 1_000 * ATTO,
    ROOT_ACCOUNT: 1_000 * ATTO,
}
_MINER_MONEY = 10_000 * ATTO
_DATACAP_BYTES = 1 << 50
_NAMES = {OWNER: "owner", WORKER: "worker", CLIENT: "client", VERIFIER: "verifier", ROOT_ACCOUNT: "root"}


class Unsuitable(Exception):
    """The devnet in a home cannot be used as it is asked for; the message says why."""


def keys_of(secret: bytes) -> dict[int, PrivateKey]:
    """Return the keys with which a devnet is made, by actor; the client's is of secp256k1."""
    return {
        number: wallet.made(secret, name, SignatureType.SECP256K1 if number == CLIENT else SignatureType.BLS)
        for number, name in _NAMES.items()
    }


def first_state(secret: bytes, of: Rules) -> State:
    """Return the state of a new devnet: some accounts with money, one miner without sectors, a client with datacap."""
    keys = keys_of(secret)
    accounts = {number: Account(key.address, _MONEY[number]) for number, key in keys.items()}
    robust = power.robust_address(of.miner, OWNER, 0)
    miner = Miner(
        robust=robust,
        owner=OWNER,
        worker=WORKER,
        beneficiary=OWNER,
        window_post_proof=power.window_proof(of),
        offset=0,
        balance=_MINER_MONEY,
    )
    ids = {account.key.text(): number for number, account in accounts.items() if account.key is not None}
    return State(
        accounts=accounts,
        miners={of.miner: miner},
        ids=ids | {robust.text(): of.miner},
        next_id=of.miner + 1,
        registry=Registry(verifiers={VERIFIER: _DATACAP_BYTES}, clients={CLIENT: _DATACAP_BYTES}),
    )


def has_devnet(home: Path) -> bool:
    """Return whether there is a devnet in a folder."""
    return (home / FILE_NAME).exists()


def begin(
    of: Rules,
    *,
    home: Path | None = None,
    block_seconds: float | None = None,
    accepts_any_proof: bool = False,
    secret: bytes | None = None,
    clock: Callable[[], float] = time.time,
    at_once: bool = False,
    is_mined: bool = False,
    changeable: Collection[str] = (),
    verify: Callable[[Any], bool] | None = None,
) -> tuple[Node, Store | None]:
    """Return a devnode: one that goes on if its home has a devnet, else a new one.

    `changeable` are rules that may be others than before. `verify` is another verifier of proofs than the devnode's own.

    Raises:
        Unsuitable: The devnet in the home has other rules.
    """
    try:
        store = None if home is None else Store(home)
    except Unusable as exc:
        raise Unsuitable(str(exc)) from exc
    if verify is None:
        verify = verifying.accept_any if accepts_any_proof else verifying.verifier()
    try:
        kept = None if store is None else store.rules()
    except msgspec.MsgspecError as exc:
        raise Unsuitable(f"the devnet in {home} is of another version of damocles: {exc}; use another folder") from exc
    if store is None or kept is None:
        secret = secret or secrets.token_bytes(32)
        first = tipsets.genesis(first_state(secret, of), secret, of.base_fee, int(clock()))
        chain = Chain(of, first, secret, verify)
        keys = wallet.Wallet(key for number, key in keys_of(secret).items())
        if store is not None:
            store.keep(first)
            store.put("secret", secret)
            store.put("rules", msgspec.json.encode(of))  # last: with it the devnet is there
    else:
        changed = [name for name in of.__struct_fields__ if getattr(kept, name) != getattr(of, name)]
        if set(changed) - set(changeable):
            other = [f"{name} {getattr(kept, name)}, not {getattr(of, name)}" for name in changed]
            store.close()
            raise Unsuitable(
                f"the devnet in {home} was made with {'; '.join(other)}: start it so, or use another folder"
            )
        if changed:
            store.put("rules", msgspec.json.encode(of))
        try:
            chain, keys = _restored(store, of, verify)
        except msgspec.MsgspecError as exc:
            store.close()
            raise Unsuitable(f"the devnet in {home} cannot be read: {exc}; use another folder") from exc
    if is_mined:
        chain.maker = 0  # no miner's: two blocks of one at a height would be a fault
    node = Node(
        chain,
        keys,
        store=store,
        block_seconds=block_seconds,
        accepts_any_proof=accepts_any_proof,
        clock=clock,
        at_once=at_once,
        is_mined=is_mined,
    )
    return node, store


def _restored(store: Store, of: Rules, verify: Callable[..., bool]) -> tuple[Chain, wallet.Wallet]:
    secret = store.get("secret")
    head = store.get("head")
    assert secret is not None
    assert head is not None
    kept = store.tipsets()
    chain = Chain(of, kept[0], secret, verify)
    chain.restore(kept, CID(head.decode()))
    for signed in store.pool():
        chain.pool.put(signed)
        chain.seen[signed.cid] = signed
    return chain, wallet.Wallet([*keys_of(secret).values(), *store.keys()])

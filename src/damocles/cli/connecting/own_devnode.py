"""A manager's own devnode: the chain of `mock`, in its process, which the manager talks to as to any Lotus node.

It makes the blocks that execute a message as soon as it is pushed, and no deadline has to be proved on it. Its state is in
the folder `devnode` of the manager's home.
"""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio.from_thread
import anyio.to_thread
import structlog
from sqlalchemy import Connection

from damocles.chain import exits, methods
from damocles.devnode import beginnings, rules, serving, verifying, wallet
from damocles.devnode.actors.draft import Unverifiable
from damocles.devnode.node import Node
from damocles.manager import chains, errors
from damocles.manager.chain import interface, terms
from damocles.manager.config import load, model
from damocles.manager.db import own_chain
from damocles.manager.sectors import ledger
from damocles.rpc import errors as rpc_errors
from damocles.wire import tasks
from damocles.wire.sectors import SealFamily, SealProof, SectorSize

log = structlog.get_logger(__name__)

FOLDER = "devnode"
NETWORK = "devnet-mock"
_CONFIDENCE = 1  # of the blocks that come with a message, one is on top of what executes it
_PROOFS = (methods.PROVE_COMMIT, methods.PROVE_NI, methods.PROVE_UPDATES)
_CHANGEABLE = ("challenge_delay",)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnDevnode:
    """A devnode with one miner; see `chains.Source`. Delays are in epochs of at least `block_seconds`.

    The first `fail_messages` of each kind fail.
    """

    miner: int
    proof: SealProof
    max_sectors: int | None = None
    block_seconds: float = 30.0
    pre_commit_delay: int = 0
    proof_delay: int = 0
    challenge_delay: int = 1
    fail_messages: int = 0

    @contextlib.asynccontextmanager
    async def open(self, beginning: chains.Beginning, /) -> AsyncIterator[chains.Chain]:
        """Start the devnode, and yield the chain that its node shows."""
        folder, database = beginning.home / FOLDER, beginning.database
        is_shared = database.is_shared
        await database.read(partial(self._check, beginning.home, is_shared=is_shared))
        async with contextlib.AsyncExitStack() as stack:
            try:
                node = await stack.enter_async_context(self._serving(folder, beginning.verifier))
            except (beginnings.Unsuitable, rpc_errors.ListenError) as error:
                raise errors.StartError(str(error)) from error
            await database.write(partial(_take, _name(node), beginning.home, is_shared=is_shared))
            await anyio.to_thread.run_sync(wallet.write_tokens, folder, node.tokens)
            self._disturb(node)
            await node.step()  # else the head is as old as the last stop, as if the node had lost the network
            log.info("devnode of its own: a devnet, whose FIL is worth nothing", url=node.url, home=str(folder))
            lotus = chains.Lotus(
                config=self._config(node, folder / "token"),
                liberties=terms.OWN_DEVNODE,
                prove_here=0,
                options=_options,
            )
            yield await stack.enter_async_context(lotus.open(beginning))

    def _check(self, home: Path, tx: Connection, *, is_shared: bool) -> None:
        """Refuse a home whose sectors are not on this devnode, before one is made.

        Raises:
            errors.StartError: It is another miner's, or has no devnode; or the database is another devnode's.
        """
        if is_shared and not beginnings.has_devnet(home / FOLDER) and (owner := own_chain.owner(tx)) is not None:
            raise _anothers(owner)
        chains.check_owner(tx, home=home, known={self.miner: self.proof.size}, options=_options)
        if ledger.owners(tx) and not beginnings.has_devnet(home / FOLDER):
            raise errors.StartError(
                f"the home {home} has sectors, and no devnode that they are on ({home / FOLDER}): they are of `daemon`, or of"
                " a mock of an earlier version, which had its chain in its database. They stay as they are. Choose another --home"
            )

    def _serving(self, folder: Path, verifier: interface.Verifier) -> AbstractAsyncContextManager[Node]:
        of = rules.Rules(
            name=NETWORK,
            sector_bytes=int(self.proof.size),
            miner=self.miner,
            challenge_delay=self.challenge_delay,
            needs_posts=False,
        )
        return serving.serving(
            of,
            home=folder,
            block_seconds=self.block_seconds,
            at_once=True,
            changeable=_CHANGEABLE,
            verify=verifying.verifier(_verdict(verifier)),
        )

    def _disturb(self, node: Node) -> None:
        pool = node.chain.pool
        pool.delay(methods.PRE_COMMIT.number, self.pre_commit_delay)
        for method in _PROOFS:
            pool.delay(method.number, self.proof_delay)
        for method in (methods.PRE_COMMIT, *_PROOFS):
            # With a code for which a sector is handed in again; others say that it can never land.
            node.doom(method.number, self.fail_messages, exits.OUT_OF_GAS)

    def _config(self, node: Node, token_file: Path) -> model.Config:
        """Return what the file of a `daemon` would say: messages go one by one, whatever they cost."""
        family = self.proof.family
        no_cap = {"GasFeeCap": ""}
        one_by_one = {**no_cap, "Batch": {"Threshold": 1, **no_cap}}
        return load.check(
            {
                "Chain": {"Network": NETWORK, "Nodes": [{"API": node.url, "TokenFile": str(token_file)}]},
                "Miners": [
                    {
                        "Actor": self.miner,
                        "Sector": {"EnableDeals": True}
                        | ({} if self.max_sectors is None else {"MaxNumber": self.max_sectors}),
                        "SnapUp": {"Enabled": True, "MessageConfidence": _CONFIDENCE, **no_cap},
                        "Commitment": {
                            "Confidence": _CONFIDENCE,
                            "Pre": one_by_one,
                            "Prove": one_by_one,
                            "Terminate": one_by_one,
                        },
                        "Sealing": {
                            "UseSyntheticPoRep": family is SealFamily.SYNTHETIC,
                            "UseNonInteractivePoRep": family is SealFamily.NON_INTERACTIVE,
                        },
                    }
                ],
            },
            "mock",
        )


def checked(miner: int) -> int:
    """Return the number of a miner that a devnode may have.

    Raises:
        ValueError: It may not.
    """
    if miner < rules.FIRST_MINER:
        raise ValueError(f"--miner: f0{miner} is no miner's number on a devnode: they begin at f0{rules.FIRST_MINER}")
    return miner


def _name(node: Node) -> str:
    """Return what tells a devnet from every other one."""
    return hashlib.blake2b(b"name", key=node.chain.secret, digest_size=16).hexdigest()


def _take(devnet: str, home: Path, tx: Connection, *, is_shared: bool) -> None:
    """Let the database belong to this devnet.

    Raises:
        errors.StartError: It is another one's, whose sectors are in it; or it is shared, so that they may come at any moment.
    """
    owner = own_chain.owner(tx)
    if owner is not None and owner.devnet == devnet:
        return
    if owner is not None and (is_shared or ledger.owners(tx)):
        raise _anothers(owner)
    own_chain.give(tx, devnet, home)


def _anothers(owner: own_chain.Owner) -> errors.StartError:
    return errors.StartError(
        f"the database is that of another devnode, of the mock whose home is {owner.home}: a mock's chain is its own, and its"
        " database too. Start that one, or make another database for this one"
    )


def _options(miner: int, size: SectorSize) -> str:
    return f"--miner {miner} --sector-size {size.label}"


def _verdict(verifier: interface.Verifier) -> Callable[[Any], bool]:
    """Return the manager's verifier as the devnode calls it, from a thread: its library is in a child process.

    What it does not know, aggregates of several sectors, is verified in this process.
    """
    checks: dict[type, Callable[[Any], Any]] = {
        tasks.VerifySeal: verifier.verify,
        tasks.SnapVerify: verifier.verify_update,
        tasks.VerifyWindowPoSt: verifier.verify_window_post,
    }

    def verify(claim: Any) -> bool:
        try:
            check = checks.get(type(claim))
            return verifying.verdict_of(claim) if check is None else bool(anyio.from_thread.run(check, claim))
        except interface.Refused:
            return False
        except errors.Unverifiable as error:
            raise Unverifiable(str(error)) from error

    return verify

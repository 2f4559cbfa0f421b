"""A chain without a node, in the database of a manager: for tests on a clock of their own, and for the simulation.

Epochs follow from the wall clock, so an idle chain costs nothing. Randomness is drawn from a secret that is made with
the database: a restarted manager answers the same for the same epoch. Messages land by themselves after a number of
epochs; a proof is only taken if it verifies.
"""

import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Callable, Container
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog
from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from damocles.manager import chains
from damocles.manager.chain import checks, interface
from damocles.manager.db import tables
from damocles.manager.db.engine import Database
from damocles.manager.sectors import ledger
from damocles.wire import codec, seal, tasks
from damocles.wire.sectors import SealProof, SectorID, prover_id

log = structlog.get_logger(__name__)

PRE_COMMIT = "pre_commit"
PROOF = "proof"
UPDATE = "update"

_TICKET_LOOKBACK = 900
_FIRST_EPOCH = 1000  # later than the lookback, so that the first ticket has an epoch
_TICKET_LIFE_SECONDS = 86400.0  # as on the real network: 2880 epochs of 30 s beyond the lookback

_messages = tables.messages


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How fast the chain goes: seconds of an epoch (`ValueError` below a millisecond), and delays in epochs."""

    block_seconds: float = 1.0
    pre_commit_delay: int = 0
    proof_delay: int = 0
    challenge_delay: int = 0
    fail_messages: int = 0  # of each kind, the first ones fail, each of them once

    def __post_init__(self) -> None:
        if self.block_seconds < 0.001:
            raise ValueError(f"an epoch of {self.block_seconds:g} s is too short: use 1ms or more")

    def network(self) -> interface.Network:
        """Return the rules that follow."""
        return interface.Network(
            ticket_lookback=_TICKET_LOOKBACK,
            ticket_max_age=_TICKET_LOOKBACK + round(_TICKET_LIFE_SECONDS / self.block_seconds),
            ni_ticket_max_age=_TICKET_LOOKBACK + round(180 * _TICKET_LIFE_SECONDS / self.block_seconds),
            challenge_delay=self.challenge_delay,
            seed_confidence=0,
            block_seconds=self.block_seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Identity:
    """What makes this chain this chain: its secret, and an epoch with the time it began."""

    secret: bytes
    anchor_epoch: int
    anchor_at: float

    def head(self, now: float, block_seconds: float) -> int:
        """Return the epoch at a time; a clock that was set back does not bring epochs back before the anchor."""
        return self.anchor_epoch + max(0, int((now - self.anchor_at) // block_seconds))


class SimulatedChain:
    """The chain; see `interface.Chain` for its methods."""

    def __init__(
        self,
        database: Database,
        identity: _Identity,
        options: Options,
        verifier: interface.Verifier,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._identity = identity
        self._options = options
        self._verifier = verifier
        self._clock = clock
        self._to_fail = dict.fromkeys((PRE_COMMIT, PROOF, UPDATE), options.fail_messages)
        self.network = options.network()

    def _head(self) -> int:
        return self._identity.head(self._clock(), self._options.block_seconds)

    async def head(self) -> int:
        """Return the epoch of the head."""
        return self._head()

    async def ticket(self, miner: int, epoch: int) -> bytes:
        """Return the sealing randomness of an epoch."""
        return self._randomness(b"ticket", miner, epoch)

    async def seed(self, miner: int, epoch: int) -> bytes:
        """Return the challenge randomness of an epoch."""
        return self._randomness(b"seed", miner, epoch)

    async def window_challenge(self, miner: int, epoch: int) -> bytes:
        """Return the randomness of window PoSts."""
        return self._randomness(b"window", miner, epoch)

    async def post_commit(self, epoch: int) -> bytes:
        """Return the randomness of an epoch that is the same for all miners."""
        return self._randomness(b"commit", 0, epoch)

    def _randomness(self, tag: bytes, miner: int, epoch: int) -> bytes:
        text = b"%s %d %d" % (tag, miner, epoch)
        drawn = hashlib.blake2b(text, key=self._identity.secret, digest_size=32).digest()
        # Proofs read it as a little-endian element of the field, which is a little smaller than 2^255.
        return drawn[:31] + bytes([drawn[31] & 0x3F])

    async def sector(self, sector: SectorID) -> interface.OnChain | None:
        """Return what has landed of a sector."""
        head = self._head()
        landed = select(_messages).where(*_of(sector), *_landed(head))
        rows = await self._database.read(lambda tx: {row.kind: row for row in tx.execute(landed)})
        if PRE_COMMIT not in rows:
            return None
        row = rows[PRE_COMMIT]
        pre_commit = codec.decode(row.content, seal.PreCommit)
        return interface.OnChain(
            proof_type=SealProof(row.proof_type),
            comm_r=pre_commit.comm_r,
            proven=PROOF in rows,
            ticket_epoch=pre_commit.ticket.epoch,
            pre_commit_epoch=row.landing_epoch,
        )

    async def lives(self, sector: SectorID) -> bool:
        """Return whether it is proven; nothing ends here."""
        found = await self.sector(sector)
        return found is not None and found.proven

    async def allocated(self, _miner: int) -> Container[int]:
        """Return nothing: nobody else hands out numbers here."""
        return ()

    async def check_pieces(self, sector: SectorID, pieces: interface.Pieces) -> None:
        """Let a sector have what it likes: this chain knows no allocations."""

    async def message(self, cid: codec.CID) -> seal.Polled:
        """Return how far a message has come: packed one epoch after it was sent, landed after the delay."""
        head = self._head()
        columns = (_messages.c.sent_epoch, _messages.c.landing_epoch, _messages.c.failed)
        sent = select(*columns).where(_messages.c.cid == str(cid))
        row = await self._database.read(lambda tx: tx.execute(sent).first())
        if row is None:
            return seal.Polled(seal.OnChainState.NOT_FOUND, f"message {cid} is not on the simulated chain")
        if row.landing_epoch <= head:
            failed = seal.Polled(seal.OnChainState.FAILED, "the chain is set to fail this message once")
            return failed if row.failed else seal.Polled(seal.OnChainState.LANDED)
        return seal.Polled(seal.OnChainState.PACKED if row.sent_epoch < head else seal.OnChainState.PENDING)

    async def check_proof(self, sector: SectorID, proof: bytes) -> None:
        """Verify a proof against the landed pre-commit and this chain's own randomness."""
        landed = select(_messages).where(*_of(sector), _messages.c.kind == PRE_COMMIT, *_landed(self._head()))
        row = await self._database.read(lambda tx: tx.execute(landed).first())
        if row is None:
            raise interface.Refused("pre-commit info not found on chain")
        pre_commit = codec.decode(row.content, seal.PreCommit)
        claim = tasks.VerifySeal(
            registered_proof=SealProof(row.proof_type).proof_name,
            comm_r=pre_commit.comm_r,
            comm_d=pre_commit.comm_d,
            prover_id=codec.Bytes32(prover_id(sector.miner)),
            sector_id=sector.number,
            ticket=codec.Bytes32(await self.ticket(sector.miner, pre_commit.ticket.epoch)),
            seed=codec.Bytes32(await self.seed(sector.miner, row.landing_epoch + self.network.challenge_delay)),
            proof=proof,
        )
        await checks.check_seal(self._verifier, claim)

    async def check_non_interactive(self, allocated: seal.AllocatedSector, content: seal.Proof) -> None:
        """Verify a proof for the commitments that came with it."""
        assert content.pre_commit is not None
        ticket = await self.ticket(allocated.id.miner, content.pre_commit.ticket.epoch)
        await checks.check_non_interactive(self._verifier, allocated, content, ticket)

    async def check_update(self, allocated: seal.AllocatedSector, comm_r_old: bytes, content: seal.SnapUpProof) -> None:
        """Verify the proof of an upgrade of what is on this chain."""
        await checks.check_update(self._verifier, await self.sector(allocated.id), comm_r_old, content)

    def send_update(
        self, tx: Connection, allocated: seal.AllocatedSector, content: seal.SnapUpProof, _pieces: interface.Pieces
    ) -> codec.CID:
        """Keep the proof of an upgrade until it lands."""
        return self._send(tx, UPDATE, allocated, codec.encode(content), self._options.proof_delay)

    def send_pre_commit(
        self, tx: Connection, allocated: seal.AllocatedSector, content: seal.PreCommit, _pieces: interface.Pieces
    ) -> codec.CID:
        """Keep a pre-commit until it lands."""
        return self._send(tx, PRE_COMMIT, allocated, codec.encode(content), self._options.pre_commit_delay)

    def send_proof(
        self, tx: Connection, allocated: seal.AllocatedSector, content: seal.Proof, _pieces: interface.Pieces
    ) -> codec.CID:
        """Keep a proof until it lands."""
        if content.pre_commit is not None:
            self._send(tx, PRE_COMMIT, allocated, codec.encode(content.pre_commit), self._options.proof_delay)
        return self._send(tx, PROOF, allocated, codec.encode(content), self._options.proof_delay)

    def _send(
        self, tx: Connection, kind: str, allocated: seal.AllocatedSector, content: bytes, delay: int
    ) -> codec.CID:
        head, sector = self._head(), allocated.id
        cid = _message_cid(kind, sector, content)
        same_kind = (*_of(sector), _messages.c.kind == kind)
        landed = tx.execute(select(_messages.c.cid).where(*same_kind, *_landed(head))).scalar()
        if landed == cid:
            return cid
        if landed is not None:
            raise interface.Refused(f"the {kind.replace('_', '-')} of {sector} is on chain already, with other content")
        has_failed = tx.execute(select(_messages.c.failed).where(*same_kind)).scalar()
        fails = not has_failed and self._to_fail.get(kind, 0) > 0
        if fails:
            self._to_fail[kind] -= 1
        tx.execute(delete(_messages).where(*same_kind))
        tx.execute(
            insert(_messages).values(
                cid=str(cid),
                kind=kind,
                miner=sector.miner,
                number=sector.number,
                proof_type=allocated.proof,
                content=content.decode(),
                sent_epoch=head,
                landing_epoch=head + delay,
                failed=fails,
            )
        )
        log.info("message sent", kind=kind, sector=str(sector), cid=str(cid))
        return cid

    async def handed_in(self, sector: SectorID) -> None:
        """Do nothing: it lands by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The chain of a daemon in tests; see `chains.Source`."""

    miner: ledger.Miner
    options: Options = Options()
    unfit: Callable[[], Container[int]] = frozenset

    @asynccontextmanager
    async def open(self, beginning: chains.Beginning, /) -> AsyncIterator[chains.Chain]:
        """Yield the chain in the daemon's database."""
        chain = await open_chain(beginning.database, self.options, beginning.verifier, beginning.clock)
        check = partial(
            chains.check_owner,
            home=beginning.home,
            known={self.miner.id: self.miner.proof.size},
            options=lambda number, size: f"--miner {number} --sector-size {size.label}",
        )
        await beginning.database.read(check)
        yield chains.Chain(chain=chain, miners=[self.miner], unfit=self.unfit)


async def open_chain(
    database: Database, options: Options, verifier: interface.Verifier, clock: Callable[[], float]
) -> SimulatedChain:
    """Return the chain that lives in a database, made on first use.

    Another length of epochs than before is taken from now on: the head goes on from where it was.
    """
    identity = await database.write(lambda tx: _identify(tx, options, clock()))
    return SimulatedChain(database, identity, options, verifier, clock)


def _identify(tx: Connection, options: Options, now: float) -> _Identity:
    row = tx.execute(select(tables.chain)).first()
    if row is None:
        identity = _Identity(secret=secrets.token_bytes(32), anchor_epoch=_FIRST_EPOCH, anchor_at=now)
        tx.execute(
            insert(tables.chain).values(
                id=1,
                secret=identity.secret,
                anchor_epoch=identity.anchor_epoch,
                anchor_at=now,
                block_seconds=options.block_seconds,
            )
        )
        return identity
    identity = _Identity(secret=row.secret, anchor_epoch=row.anchor_epoch, anchor_at=row.anchor_at)
    if row.block_seconds == options.block_seconds:
        return identity
    head = identity.head(now, row.block_seconds)
    anchor = {"anchor_epoch": head, "anchor_at": now}
    tx.execute(update(tables.chain).values(**anchor, block_seconds=options.block_seconds))
    return _Identity(secret=row.secret, anchor_epoch=head, anchor_at=now)


def _of(sector: SectorID) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return (_messages.c.miner == sector.miner, _messages.c.number == sector.number)


def _landed(head: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return (_messages.c.landing_epoch <= head, _messages.c.failed.is_(False))


def _message_cid(kind: str, sector: SectorID, content: bytes) -> codec.CID:
    """Return a CID of the form that message ids of the original have: version 1, raw, blake2b-512."""
    digest = hashlib.blake2b(b"%s %s " % (kind.encode(), str(sector).encode()) + content).digest()
    prefix = bytes.fromhex("0155c0e40240")
    return codec.CID("b" + base64.b32encode(prefix + digest).decode().lower().rstrip("="))

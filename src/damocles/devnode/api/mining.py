"""`Miner…` and `SyncSubmitBlock`: what a miner needs for a block, the block made and signed, and handed in."""

from typing import Any

import anyio.to_thread
import msgspec
import structlog

from damocles.chain.addresses import Address
from damocles.chain.blocks.header import BlockMessage, Header, Template
from damocles.chain.messages import SignedMessage
from damocles.devnode import tipsets, wallet
from damocles.devnode.actors.draft import Unverifiable
from damocles.devnode.api import shapes
from damocles.devnode.api.context import Api, Key, fail
from damocles.devnode.api.service import Service
from damocles.devnode.blocks import checking, elections, making
from damocles.devnode.blocks.faults import Fault
from damocles.devnode.state import Sector
from damocles.wire import codec

log = structlog.get_logger(__name__)


class MiningApi(Api):
    """Methods about blocks."""

    def serve(self, service: Service) -> None:
        """Serve them."""
        service.serve("read", {"MinerGetBaseInfo": self.base_info})
        service.serve("write", {"MinerCreateBlock": self.create, "SyncSubmitBlock": self.submit})

    async def base_info(self, address: Address, epoch: int, key: Key) -> dict[str, Any] | None:
        """Return what a miner needs for a block of an epoch; null without a sector that could be challenged."""
        self.miner(address, key)
        parent = self.tipset(key)
        # The beacon speaks as an epoch begins, so that the next one can be prepared.
        latest = self.head.height + 1
        if self.node.is_mined:
            latest = max(latest, self.node.rounds.epoch_now() + 1)
        if epoch > latest:
            fail(f"beacon entry request returned error: the beacon has no entry for {epoch} yet")
        try:
            base = await anyio.to_thread.run_sync(elections.base, self.chain, address, epoch, parent)
        except tipsets.Forgotten as exc:
            fail(f"failed to load state: {exc}")
        if base is None:
            return None
        return {
            "MinerPower": str(base.power),
            "NetworkPower": str(base.network_power),
            "Sectors": [_challenged(sector) for sector in base.challenged],
            "WorkerKey": shapes.text(base.worker),
            "SectorSize": int(base.sector_size),
            "PrevBeaconEntry": shapes.plain(base.previous),
            "BeaconEntries": shapes.plain(base.entries),
            "EligibleForMining": base.is_eligible,
        }

    async def create(self, template: Template) -> dict[str, Any]:
        """Return a block, signed by the worker's key. As a node does, it checks nothing of what the miner brings."""
        parent = self.tipset(list(template.parents))
        _, miner = self.miner(template.miner, [parent.key])
        messages = making.in_order([codec.decode(msgspec.json.encode(one), SignedMessage) for one in template.messages])
        worker = self.node.key_of(Address.of_id(miner.worker))

        def work() -> Header:
            made = making.header(self.chain, parent, template, [signed.cid for signed in messages])
            return msgspec.structs.replace(made, signature=self.node.wallet.sign(worker, made.signing_bytes))

        try:
            header = await anyio.to_thread.run_sync(work)
        except wallet.NoKey:
            fail(f"failed to sign new block: key not found for {shapes.text(worker)}")
        except (tipsets.Forgotten, Unverifiable) as exc:
            fail(str(exc))
        self.node.rounds.signed.setdefault((template.miner, template.epoch), set()).add(header.cid)
        log.info("block signed", height=header.height, miner=str(header.miner), cid=header.cid, parents=header.parents)
        return {"Header": shapes.plain(header)} | shapes.kinds_of(messages)

    async def submit(self, message: BlockMessage) -> None:
        """Take a block: check all of it, and make it the head if it builds on the head."""
        header = message.header
        if not self.node.is_mined:
            fail("this devnode makes its blocks itself: start it with --mined")
        wanted = [*message.bls_messages, *message.secp_messages]
        known = {**self.chain.seen, **{signed.cid: signed for signed in self.chain.pool.all()}}
        if missing := [cid for cid in wanted if cid not in known]:
            fail(f"failed to load messages: ipld: could not find {missing[0]}")

        def work() -> None:
            checking.check(
                self.chain,
                message,
                now=self.node.rounds.now(),
                delay_seconds=self.node.rounds.delay_seconds,
                verify=self.chain.executor.verify,
            )
            parent = self.chain.known[header.parents[0]]
            self.node.rounds.faults.check(header, parent.height)
            self.node.rounds.faults.remember(header)

        try:
            await anyio.to_thread.run_sync(work)
        except Fault as exc:
            fail(f"<!!> SLASH FILTER ERROR: {exc}")
        except (checking.Refused, Unverifiable) as exc:
            fail(f"sync to submitted block failed: {exc}")
        await self.node.take(header, [known[cid] for cid in wanted])


def _challenged(sector: Sector) -> dict[str, Any]:
    return {
        "SealProof": sector.seal_proof,
        "SectorNumber": sector.number,
        "SectorKey": None if sector.key_cid is None else shapes.link(sector.key_cid),
        "SealedCID": shapes.link(sector.sealed_cid),
    }

"""`Chain…`: the head, tipsets, blocks, and messages in them."""

from collections.abc import AsyncGenerator
from typing import Any

from damocles.devnode.api import shapes
from damocles.devnode.api.context import Api, Key, fail
from damocles.devnode.api.service import Service
from damocles.devnode.chain import Change
from damocles.wire.codec import CID


class ChainApi(Api):
    """Methods that anybody may call, but for one."""

    def serve(self, service: Service) -> None:
        """Serve them."""
        service.serve(
            "read",
            {
                "ChainHead": self.chain_head,
                "ChainNotify": self.notify,
                "ChainGetGenesis": self.genesis,
                "ChainGetTipSet": self.by_key,
                "ChainGetTipSetByHeight": self.by_height,
                "ChainGetTipSetAfterHeight": self.after_height,
                "ChainGetPath": self.path,
                "ChainGetBlock": self.block,
                "ChainGetBlockMessages": self.block_messages,
                "ChainGetMessage": self.message,
                "ChainGetParentMessages": self.parent_messages,
                "ChainGetParentReceipts": self.parent_receipts,
                "ChainGetMessagesInTipset": self.messages_in,
                "ChainTipSetWeight": self.weight,
                "StateGetRandomnessFromTickets": self.from_tickets,
                "StateGetRandomnessFromBeacon": self.from_beacon,
                "StateGetRandomnessDigestFromTickets": self.digest_from_tickets,
                "StateGetRandomnessDigestFromBeacon": self.digest_from_beacon,
                "StateGetBeaconEntry": self.beacon_entry,
            },
        )
        service.serve("admin", {"ChainSetHead": self.set_head})

    async def chain_head(self) -> dict[str, Any]:
        """Return the head."""
        return self.tell(self.head)

    async def notify(self) -> AsyncGenerator[list[dict[str, Any]], None]:
        """Stream what happens to the head; the first is the head itself."""
        async with self.node.changes() as changes:
            yield self._told([Change("current", self.head)])
            async for change in changes:
                yield self._told(change)

    def _told(self, of: list[Change]) -> list[dict[str, Any]]:
        return shapes.changes(of, self.chain.secret, self.chain.maker)

    async def genesis(self) -> dict[str, Any]:
        """Return the first tipset."""
        return self.tell(self.chain.first)

    async def by_key(self, key: Key) -> dict[str, Any]:
        """Return a tipset by its key, on the chain or not."""
        if not key:
            fail("NewTipSet called with zero length array of blocks")
        return self.tell(self.tipset(key))

    async def by_height(self, height: int, key: Key) -> dict[str, Any]:
        """Return the tipset of a height; of a null round the one before it."""
        head = self.height(height, key)
        try:
            return self.tell(self.chain.at(height, head))
        except KeyError:
            fail(f"the devnode does not know the tipset at {height} any more")

    async def after_height(self, height: int, key: Key) -> dict[str, Any]:
        """Return the tipset of a height; of a null round the one after it."""
        return self.tell(self.chain.after(height, self.height(height, key)))

    async def path(self, start: list[CID], end: list[CID]) -> list[dict[str, Any]] | None:
        """Return what is taken back and what comes between two tipsets."""
        try:
            found = self.chain.path(self.tipset(start), self.tipset(end))
        except KeyError:
            fail("the devnode does not know where these chains meet")
        return self._told(found) or None

    async def block(self, cid: CID) -> dict[str, Any]:
        """Return the header of a block; each tipset has one."""
        return shapes.block(self._of_block(cid), self.chain.secret, self.chain.maker)

    def _of_block(self, cid: CID) -> Any:
        found = self.chain.known.get(cid)
        if found is None:
            fail(f"ipld: could not find {cid}")
        return found

    async def block_messages(self, cid: CID) -> dict[str, Any]:
        """Return the messages of a block."""
        return shapes.block_messages(self._of_block(cid).messages)

    async def message(self, cid: CID) -> dict[str, Any]:
        """Return a message that the node has seen."""
        found = self.chain.seen.get(cid)
        if found is None:
            fail(f"%!w(*errors.errorString=&{{failed to load message}}): ipld: could not find {cid}")
        return shapes.message(found.message)

    async def parent_messages(self, cid: CID) -> list[dict[str, Any]] | None:
        """Return the messages that a block's tipset has executed."""
        parent = self.chain.known.get(self._of_block(cid).parent)
        if parent is None:
            return None
        return [
            {"Cid": shapes.link(one.cid), "Message": shapes.message(one.message)} for one in parent.messages
        ] or None

    async def parent_receipts(self, cid: CID) -> list[dict[str, Any]]:
        """Return what became of them."""
        return [shapes.receipt(outcome) for outcome in self._of_block(cid).outcomes]

    async def messages_in(self, key: Key) -> list[dict[str, Any]] | None:
        """Return the messages of a tipset."""
        messages = self.tipset(key).messages
        return [{"Cid": shapes.link(one.cid), "Message": shapes.message(one.message)} for one in messages] or None

    async def weight(self, key: Key) -> str:
        """Return the weight of a tipset: its height."""
        return str(self.tipset(key).height)

    async def set_head(self, key: list[CID]) -> None:
        """Make a known tipset the head; those above it are taken back."""
        await self.node.set_head(self.tipset(key).key)

    async def from_tickets(self, domain: int, epoch: int, entropy: bytes | None, key: Key) -> str | None:
        """Return randomness from the chain."""
        if not key:
            fail("loading tipset key: NewTipSet called with zero length array of blocks")
        return self.drawn("tickets", self.tipset(key), domain, epoch, entropy or b"")

    async def from_beacon(self, domain: int, epoch: int, entropy: bytes | None, key: Key) -> str | None:
        """Return randomness from the beacon."""
        return self.drawn("beacon", self.tipset(key), domain, epoch, entropy or b"")

    async def digest_from_tickets(self, epoch: int, key: Key) -> str | None:
        """Return what randomness from the chain is drawn from."""
        return self.drawn("tickets", self.tipset(key), 0, epoch, b"")

    async def digest_from_beacon(self, epoch: int, key: Key) -> str | None:
        """Return what randomness from the beacon is drawn from."""
        return self.drawn("beacon", self.tipset(key), 0, epoch, b"")

    async def beacon_entry(self, epoch: int) -> dict[str, Any]:
        """Return the beacon's entry of an epoch."""
        if epoch > self.head.height:
            fail(f"the beacon has no entry for {epoch} yet")
        return shapes.beacon_entry(self.chain.secret, epoch)

"""`Damocles.Devnode…`: what no real node does, for tests and for people who try things out. All of it needs *admin*."""

from typing import Any

from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.devnode import clients, rules
from damocles.devnode.api.context import Api, fail
from damocles.devnode.api.service import Service
from damocles.devnode.mischief import Fault
from damocles.devnode.pool import NotTaken
from damocles.wire.codec import CID


class ControlApi(Api):
    """Methods that make time and trouble."""

    def serve(self, service: Service) -> None:
        """Serve them."""
        service.serve("read", {"DevnodeInfo": self.info}, prefix="Damocles")
        service.serve(
            "admin",
            {
                "DevnodeStep": self.step,
                "DevnodeStop": self.stop,
                "DevnodeGoOn": self.go_on,
                "DevnodeReorganise": self.reorganise,
                "DevnodeNullRounds": self.null_rounds,
                "DevnodeBaseFee": self.base_fee,
                "DevnodeFault": self.fault,
                "DevnodeLag": self.lag,
                "DevnodeBlockLimit": self.block_limit,
                "DevnodeHangUp": self.hang_up,
                "DevnodeDoom": self.doom,
                "DevnodeAllocate": self.allocate,
            },
            prefix="Damocles",
        )

    async def info(self) -> dict[str, Any]:
        """Return how the devnet was made, and what is amiss on request."""
        of = self.node.rules
        return {
            "Devnode": rules.NAME,
            "Network": of.name,
            "SectorSize": of.sector_bytes,
            "ChallengeDelay": of.challenge_delay,
            "ChallengeWindow": of.window_epochs,
            "BlockSeconds": self.node.block_seconds,
            "AcceptsAnyProof": self.node.accepts_any_proof,
            "Height": self.chain.head.height,
        }

    async def step(self, count: int) -> int:
        """Make blocks now; return the height."""
        if not 0 < count <= rules.FINALITY:
            fail(f"1 to {rules.FINALITY} blocks at once, not {count}")
        return (await self.node.step(count)).height

    async def stop(self) -> None:
        """Let time stand still."""
        self.node.stop_time()

    async def go_on(self) -> None:
        """Let time go on, and take all faults back."""
        self.node.go_on()
        self.mischief.clear()

    async def reorganise(self, depth: int, drop: bool) -> int:
        """Take tipsets back; their messages wait again, or are lost. Return the height."""
        try:
            return (await self.node.reorganise(depth, drop=drop)).height
        except ValueError as exc:
            fail(str(exc))

    async def null_rounds(self, count: int) -> None:
        """Leave epochs out before the next block."""
        if not 0 < count <= rules.FINALITY:
            fail(f"1 to {rules.FINALITY} null rounds at once, not {count}")
        self.node.null_rounds(count)

    async def base_fee(self, base_fee: Amount) -> None:
        """Let the next block have another base fee, in attoFIL; it goes down by an eighth a block."""
        if int(base_fee) < 0:
            fail(f"a base fee is 0 attoFIL or more, not {int(base_fee)}")
        self.node.set_base_fee(int(base_fee))

    async def fault(self, method: str, fault: Fault | None) -> None:
        """Let a method (`*`: all) misbehave, or no longer."""
        self.mischief.put(method, fault)

    async def lag(self, epochs: int) -> None:
        """Let the head that is told lag behind."""
        if epochs < 0:
            fail(f"the head lags by 0 epochs or more, not by {epochs}")
        self.mischief.behind = epochs

    async def block_limit(self, messages: int | None) -> None:
        """Let blocks have so many messages at most; null takes the limit away."""
        if messages is not None and messages < 0:
            fail(f"blocks have 0 messages or more, not {messages}; null is no limit")
        self.node.messages_a_block = messages

    async def hang_up(self) -> None:
        """End all subscriptions to the head."""
        self.node.hang_up()

    async def doom(self, method: int, count: int, exit_code: int) -> None:
        """Let the next messages to a method fail when they are executed."""
        if count < 1 or exit_code < 1:
            fail(f"1 or more messages fail, with an exit code from 1 on, not {count} with {exit_code}")
        self.node.doom(method, count, exit_code)

    async def allocate(self, provider: Address, piece: CID, size_bytes: int, epochs: int) -> int:
        """Let the client of the beginning ask a miner to store a piece; return the number of the allocation.

        It makes the blocks that its message needs. `epochs` is how long the allocation can be claimed.
        """
        if size_bytes < 1 or epochs < 1:
            fail(f"a piece has 1 byte or more, and can be claimed for 1 epoch or more, not {size_bytes} and {epochs}")
        try:
            return await clients.allocate(self.node, provider, piece, size_bytes, epochs=epochs)
        except (NotTaken, ValueError) as exc:
            fail(str(exc))

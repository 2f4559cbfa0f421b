"""The chain as it is at one tipset of one node: what decisions are made of.

    async with nodes.view() as view:
        info = await view.info(miner)
        sector = await view.sector(miner, 7)

All answers of a view are about the same state, whatever happens to the head meanwhile, and no two nodes are mixed. If its
node goes away, the decision begins again with another view. It does not check by itself whether its tipset is still on the chain:
ask `is_on_chain` before anything irreversible.
"""

from typing import Any, TypeVar

from damocles.chain import cbor, methods
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.bitfields import Bitfield
from damocles.chain.messages import Message
from damocles.chain.methods import Method
from damocles.chain.sealing import PreCommit
from damocles.lotus import errors, miners
from damocles.lotus.answers import Actor, BaseInfo, Invocation, Key, Lookup, TipSet
from damocles.lotus.node import EXECUTION_SECONDS, SECONDS, Node
from damocles.wire.codec import CID, Rows

T = TypeVar("T")

# Lists of all sectors of a large miner, and looking back over many epochs.
LIST_SECONDS = 120.0

# Domains of randomness, as go-state-types numbers them.
_WINDOW_POST = 4
_SEAL = 5
_SEED = 6
_CHAIN_COMMIT = 9


class View:
    """The chain at a tipset."""

    def __init__(self, node: Node, tipset: TipSet) -> None:
        self.node = node
        self.tipset = tipset
        self.key: Key = tipset.key

    @property
    def epoch(self) -> int:
        """The epoch of the tipset."""
        return self.tipset.height

    async def is_on_chain(self) -> bool:
        """Return whether the tipset is still on the chain of its node."""
        head = await self.node.head()
        if head.height < self.epoch:
            return False
        return (await self.node.tipset_at(self.epoch, head.key)).key == self.key

    async def _ask(self, returns: type[T], method: str, *params: Any, seconds: float = SECONDS) -> T:
        return await self.node.call(returns, method, *params, self.key, seconds=seconds)

    async def _maybe(self, returns: type[T], method: str, *params: Any) -> T | None:
        return await self.node.maybe(returns, method, *params, self.key)

    # Network and actors.

    async def network_version(self) -> int:
        """Return the version of the network; at the epoch of an upgrade it is still the one before."""
        return await self._ask(int, "StateNetworkVersion")

    async def actor(self, address: Address) -> Actor:
        """Return an actor; `errors.NotThere` if there is none."""
        return await self._ask(Actor, "StateGetActor", address)

    async def key_of(self, address: Address) -> Address:
        """Return the key of an account, by which it signs."""
        return await self._ask(Address, "StateAccountKey", address)

    async def id_of(self, address: Address) -> Address:
        """Return the id of an actor."""
        return await self._ask(Address, "StateLookupID", address)

    async def robust_address(self, address: Address) -> Address:
        """Return the address of an actor that survives a reorganisation."""
        return await self._ask(Address, "StateLookupRobustAddress", address)

    # Messages.

    async def simulate(self, message: Message) -> Invocation:
        """Execute a message for us alone. Nonce, gas and the money for fees are of no account; proofs are verified.

        Except those of window PoSts, which the chain itself verifies only if they recover sectors.
        """
        return await self._ask(Invocation, "StateCall", message, seconds=EXECUTION_SECONDS)

    async def ask_actor(self, miner: Address, method: Method, params: Any) -> Any:
        """Return what a read-only method of a miner's actor answers.

        Raises:
            errors.Refused: The actor refused.
        """
        # Somebody has to ask, who is on the chain.
        asker = (await self.info(miner)).worker
        answer = await self.simulate(
            Message(to=miner, sender=asker, method=method.number, params=method.params_of(params))
        )
        if answer.receipt.exit_code:
            raise errors.Refused(self.node.url, method.name, answer.error)
        try:
            return method.read_return(answer.receipt.returned)
        except cbor.Malformed as exc:
            raise errors.NoNode(f"{self.node.url}: {method.name} answers something else: {exc}") from exc

    async def search(self, cid: CID, epochs: int) -> Lookup | None:
        """Return where a message, or one that replaced it, was executed within some epochs back from the tipset.

        `None` means pending, or longer ago, or included and not executed yet.

        Raises:
            errors.Unseen: The node has never seen it.
        """
        return await self.node.maybe(Lookup, "StateSearchMsg", self.key, cid, epochs, True, seconds=LIST_SECONDS)

    # Randomness, 32 bytes. Epochs from the tipset's on are `errors.NotYet`; a null round has its own.

    async def ticket(self, miner: Address, epoch: int) -> bytes:
        """Return the ticket of sectors that are sealed."""
        return await self._randomness("StateGetRandomnessFromTickets", _SEAL, epoch, cbor.encode(miner.to_cbor()))

    async def seed(self, miner: Address, epoch: int) -> bytes:
        """Return the seed of sectors that are proved."""
        return await self._randomness("StateGetRandomnessFromBeacon", _SEED, epoch, cbor.encode(miner.to_cbor()))

    async def window_challenge(self, miner: Address, epoch: int) -> bytes:
        """Return the challenge of a deadline's window PoSts."""
        return await self._randomness("StateGetRandomnessFromBeacon", _WINDOW_POST, epoch, cbor.encode(miner.to_cbor()))

    async def chain_commit(self, epoch: int) -> bytes:
        """Return what shows that a window PoSt is of this chain."""
        return await self._randomness("StateGetRandomnessFromTickets", _CHAIN_COMMIT, epoch, None)

    async def _randomness(self, method: str, domain: int, epoch: int, entropy: bytes | None) -> bytes:
        return await self._ask(bytes, method, domain, epoch, entropy)

    # A miner.

    async def info(self, miner: Address) -> miners.Info:
        """Return a miner; `errors.NotThere` if it is none."""
        return await self._ask(miners.Info, "StateMinerInfo", miner)

    async def base_info(self, miner: Address, epoch: int) -> BaseInfo | None:
        """Return what a miner needs for the block of an epoch on top of this tipset; `None` without sectors that could be challenged.

        Raises:
            errors.NodeError: Also where the beacon has not spoken for the epoch yet.
        """
        return await self._maybe(BaseInfo, "MinerGetBaseInfo", miner, epoch)

    async def power(self, miner: Address) -> miners.Power:
        """Return its power, and all of the network."""
        return await self._ask(miners.Power, "StateMinerPower", miner)

    async def available_balance(self, miner: Address) -> Amount:
        """Return what can be withdrawn, and pays deposits and pledges."""
        return await self._ask(Amount, "StateMinerAvailableBalance", miner)

    async def state(self, miner: Address) -> miners.MinerState:
        """Return its money, and what of it is bound."""
        return await self._ask(miners.MinerState, "StateReadState", miner)

    async def period(self, miner: Address) -> miners.Period:
        """Return where it stands in its proving period."""
        return await self._ask(miners.Period, "StateMinerProvingDeadline", miner)

    async def deadlines(self, miner: Address) -> list[miners.Deadline]:
        """Return its 48 deadlines."""
        return await self._ask(list[miners.Deadline], "StateMinerDeadlines", miner, seconds=LIST_SECONDS)

    async def partitions(self, miner: Address, deadline: int) -> Rows[miners.Partition]:
        """Return the partitions of a deadline."""
        return await self._ask(Rows[miners.Partition], "StateMinerPartitions", miner, deadline)

    async def allocated_numbers(self, miner: Address) -> Bitfield:
        """Return all sector numbers that were ever used."""
        return await self._ask(Bitfield, "StateMinerAllocated", miner)

    async def is_allocated(self, miner: Address, number: int) -> bool:
        """Return whether a sector number was ever used."""
        return await self._ask(bool, "StateMinerSectorAllocated", miner, number)

    async def faulty(self, miner: Address) -> Bitfield:
        """Return its faulty sectors, also those that are being recovered."""
        return await self._ask(Bitfield, "StateMinerFaults", miner)

    async def recovering(self, miner: Address) -> Bitfield:
        """Return the sectors that are declared recovered and wait for a window PoSt."""
        return await self._ask(Bitfield, "StateMinerRecoveries", miner)

    # Its sectors.

    async def sectors(self, miner: Address, which: Bitfield | None = None) -> Rows[miners.Sector]:
        """Return proved sectors, also terminated ones; all, or those named, of which none may be missing."""
        return await self._ask(Rows[miners.Sector], "StateMinerSectors", miner, which, seconds=LIST_SECONDS)

    async def active_sectors(self, miner: Address) -> Rows[miners.Sector]:
        """Return the sectors that have power."""
        return await self._ask(Rows[miners.Sector], "StateMinerActiveSectors", miner, seconds=LIST_SECONDS)

    async def sector_count(self, miner: Address) -> miners.SectorCount:
        """Return how many sectors there are."""
        return await self._ask(miners.SectorCount, "StateMinerSectorCount", miner)

    async def sector(self, miner: Address, number: int) -> miners.Sector | None:
        """Return a proved sector, also a terminated one that is not compacted."""
        return await self._maybe(miners.Sector, "StateSectorGetInfo", miner, number)

    async def pre_committed(self, miner: Address, number: int) -> miners.PreCommitted | None:
        """Return a sector that is pre-committed and not proved."""
        return await self._maybe(miners.PreCommitted, "StateSectorPreCommitInfo", miner, number)

    async def location(self, miner: Address, number: int) -> miners.Location:
        """Return where a proved sector is; `errors.NotThere` if nowhere."""
        return await self._ask(miners.Location, "StateSectorPartition", miner, number)

    async def expiration(self, miner: Address, number: int) -> miners.Expiration:
        """Return when a live sector ends; `errors.NotThere` if it is terminated."""
        return await self._ask(miners.Expiration, "StateSectorExpiration", miner, number)

    async def max_termination_fee(self, miner: Address, power_bytes: int, pledge: Amount) -> Amount:
        """Return the most that the termination of a sector may cost now; it moves with the rewards of the network."""
        params = methods.MAX_TERMINATION_FEE.params(Amount(power_bytes), pledge)
        fee: Amount = await self.ask_actor(miner, methods.MAX_TERMINATION_FEE, params)
        return fee

    # Money that is asked for; Lotus adds a tenth.

    async def deposit(self, miner: Address, sector: PreCommit) -> Amount:
        """Return the deposit of a pre-commit."""
        return await self._ask(Amount, "StateMinerPreCommitDepositForPower", miner, sector)

    async def pledge(self, duration_epochs: int, sector_bytes: int, verified_bytes: int) -> Amount:
        """Return the pledge of a sector; verified data makes it tenfold."""
        return await self._ask(
            Amount, "StateMinerInitialPledgeForSector", duration_epochs, sector_bytes, verified_bytes
        )

    async def creation_deposit(self) -> Amount:
        """Return the deposit of a new miner."""
        return await self._ask(Amount, "StateMinerCreationDeposit")

    # Verified data, by number; expired allocations are among them.

    async def allocation(self, client: Address, number: int) -> miners.Allocation | None:
        """Return an allocation of a client."""
        return await self._maybe(miners.Allocation, "StateGetAllocation", client, number)

    async def allocations(self, client: Address) -> dict[int, miners.Allocation]:
        """Return all allocations of a client."""
        return await self._ask(dict[int, miners.Allocation], "StateGetAllocations", client, seconds=LIST_SECONDS)

    async def claim(self, miner: Address, number: int) -> miners.VerifiedClaim | None:
        """Return a claim of a miner."""
        return await self._maybe(miners.VerifiedClaim, "StateGetClaim", miner, number)

    async def claims(self, miner: Address) -> dict[int, miners.VerifiedClaim]:
        """Return all claims of a miner, also those of terminated sectors."""
        return await self._ask(dict[int, miners.VerifiedClaim], "StateGetClaims", miner, seconds=LIST_SECONDS)

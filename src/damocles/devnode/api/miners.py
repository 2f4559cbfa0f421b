"""What the state says of miners, their sectors and deadlines, and of verified data."""

from typing import Any

from damocles.chain.addresses import Address
from damocles.chain.bitfields import Bitfield
from damocles.chain.sealing import PreCommit
from damocles.devnode import rules
from damocles.devnode.actors import deadlines
from damocles.devnode.api import shapes
from damocles.devnode.api.context import Api, Key, fail, one_of
from damocles.devnode.api.service import Service
from damocles.devnode.rules import DEADLINES
from damocles.devnode.state import NOBODY, Allocation, Claim, Miner, Partition, kind_of


class MinersApi(Api):
    """Methods that anybody may call."""

    def serve(self, service: Service) -> None:
        """Serve them."""
        service.serve(
            "read",
            {
                "StateMinerInfo": self.info,
                "StateListMiners": self.all,
                "StateMinerPower": self.power,
                "StateMinerAvailableBalance": self.available,
                "StateReadState": self.read,
                "StateMinerProvingDeadline": self.proving_deadline,
                "StateMinerDeadlines": self.deadlines,
                "StateMinerPartitions": self.partitions,
                "StateMinerAllocated": self.allocated,
                "StateMinerSectorAllocated": self.is_allocated,
                "StateMinerFaults": self.faults,
                "StateMinerRecoveries": self.recoveries,
                "StateMinerSectors": self.sectors,
                "StateMinerActiveSectors": self.active,
                "StateMinerSectorCount": self.count,
                "StateSectorGetInfo": self.sector,
                "StateSectorPreCommitInfo": self.pre_committed,
                "StateSectorPartition": self.place,
                "StateSectorExpiration": self.expiration,
                "StateMinerPreCommitDepositForPower": self.deposit,
                "StateMinerInitialPledgeCollateral": self.pledge_of,
                "StateMinerInitialPledgeForSector": self.pledge,
                "StateMinerCreationDeposit": self.creation_deposit,
                "StateGetAllocation": self.allocation,
                "StateGetAllocations": self.allocations,
                "StateGetAllAllocations": self.all_allocations,
                "StateGetClaim": self.claim,
                "StateGetClaims": self.claims,
                "StateGetAllClaims": self.all_claims,
            },
        )

    # A miner.

    async def info(self, address: Address, key: Key) -> dict[str, Any]:
        """Return a miner."""
        _, miner = self.miner(address, key)
        pending = miner.pending_beneficiary
        return {
            "Owner": shapes.of_id(miner.owner),
            "Worker": shapes.of_id(miner.worker),
            "NewWorker": shapes.UNDEFINED if miner.new_worker is None else shapes.of_id(miner.new_worker),
            "ControlAddresses": one_of([shapes.of_id(number) for number in miner.control]),
            "WorkerChangeEpoch": miner.worker_change_epoch,
            "PeerId": shapes.peer_id(miner.peer_id),
            "Multiaddrs": one_of([shapes.octets(one) for one in miner.multiaddrs]),
            "WindowPoStProofType": miner.window_post_proof,
            "SectorSize": miner.sector_bytes,
            "WindowPoStPartitionSectors": self.node.rules.partition_sectors,
            "ConsensusFaultElapsed": -1,
            "PendingOwnerAddress": None if miner.pending_owner is None else shapes.of_id(miner.pending_owner),
            "Beneficiary": shapes.of_id(miner.beneficiary),
            "BeneficiaryTerm": {
                "Quota": str(miner.term.quota),
                "UsedQuota": str(miner.term.used),
                "Expiration": miner.term.expiration,
            },
            "PendingBeneficiaryTerm": None
            if pending is None
            else {
                "NewBeneficiary": shapes.of_id(pending.who),
                "NewQuota": str(pending.quota),
                "NewExpiration": pending.expiration,
                "ApprovedByBeneficiary": pending.by_beneficiary,
                "ApprovedByNominee": pending.by_nominee,
            },
        }

    async def all(self, key: Key) -> list[str] | None:
        """Return all miners."""
        return one_of([shapes.of_id(number) for number in self.state(key).miners])

    async def power(self, address: Address, key: Key) -> dict[str, Any]:
        """Return the power of a miner and of all, zero of one that is nowhere."""
        state = self.state(key)
        number = state.id_of(address)
        own = (0, 0) if number is None else state.power(number)
        return {
            "MinerPower": _power(own),
            "TotalPower": _power(state.total_power()),
            "HasMinPower": own[0] >= self.node.rules.sector_bytes,
        }

    async def available(self, address: Address, key: Key) -> str:
        """Return what can be withdrawn."""
        return str(self.miner(address, key)[1].available)

    async def read(self, address: Address, key: Key) -> dict[str, Any]:
        """Return an actor with what is inside; of others than miners that is made up."""
        state = self.state(key)
        number = state.id_of(address)
        if number is None:
            fail("actor not found")
        inside: Any = {"Address": shapes.text(state.account(number).key or address)}
        if number in state.miners:
            inside = self._inside(number, state.miners[number], key)
        kind = kind_of(state, number)
        return {"Balance": str(state.balance_of(number)), "Code": shapes.link(shapes.code(kind)), "State": inside}

    def _inside(self, number: int, miner: Miner, key: Key) -> dict[str, Any]:
        now = deadlines.window(self.node.rules, miner, self.tipset(key).height)

        def part(name: str) -> dict[str, str]:
            return shapes.link(shapes.invented(f"{name} of {number}"))

        return {
            "Info": part("info"),
            "PreCommitDeposits": str(miner.deposits),
            "LockedFunds": str(miner.locked),
            "VestingFunds": {
                "Head": {"Epoch": now.close, "Amount": str(miner.locked)},
                "Tail": part("vesting"),
            }
            if miner.locked
            else None,
            "FeeDebt": str(miner.fee_debt),
            "InitialPledge": str(miner.pledge),
            "PreCommittedSectors": part("pre-committed sectors"),
            "PreCommittedSectorsCleanUp": part("clean-up"),
            "AllocatedSectors": part("numbers"),
            "Sectors": part("sectors"),
            "ProvingPeriodStart": now.period_start,
            "CurrentDeadline": now.index,
            "Deadlines": part("deadlines"),
            "EarlyTerminations": NOBODY.to_json(),
            "DeadlineCronActive": miner.cron_active,
        }

    # Deadlines.

    async def proving_deadline(self, address: Address, key: Key) -> dict[str, int]:
        """Return where a miner is in its proving period."""
        of, epoch = self.node.rules, self.tipset(key).height
        now = deadlines.window(of, self.miner(address, key)[1], epoch)
        return {
            "CurrentEpoch": epoch,
            "PeriodStart": now.period_start,
            "Index": now.index,
            "Open": now.open,
            "Close": now.close,
            "Challenge": now.challenge,
            "FaultCutoff": now.open - of.declaration_cutoff,
            "WPoStPeriodDeadlines": DEADLINES,
            "WPoStProvingPeriod": of.period_epochs,
            "WPoStChallengeWindow": of.window_epochs,
            "WPoStChallengeLookback": of.challenge_lookback,
            "FaultDeclarationCutoff": of.declaration_cutoff,
        }

    async def deadlines(self, address: Address, key: Key) -> list[dict[str, Any]]:
        """Return the 48 deadlines."""
        _, miner = self.miner(address, key)
        made = []
        for deadline in miner.deadlines:
            fee = sum(miner.sectors[number].daily_fee for one in deadline.partitions for number in one.live)
            made.append({"PostSubmissions": deadline.posted.to_json(), "DisputableProofCount": 0, "DailyFee": str(fee)})
        return made

    async def partitions(self, address: Address, index: int, key: Key) -> list[dict[str, Any]] | None:
        """Return the partitions of a deadline."""
        _, miner = self.miner(address, key)
        if not 0 <= index < DEADLINES:
            fail(f"failed to load the deadline: invalid deadline {index}")
        return one_of([_partition(partition) for partition in miner.deadlines[index].partitions])

    # Sectors.

    async def allocated(self, address: Address, key: Key) -> list[int]:
        """Return all numbers that were ever used."""
        return self.miner(address, key)[1].allocated.to_json()

    async def is_allocated(self, address: Address, number: int, key: Key) -> bool:
        """Return whether a number was ever used."""
        return number in self.miner(address, key)[1].allocated

    async def faults(self, address: Address, key: Key) -> list[int]:
        """Return the faulty sectors."""
        return _union(one.faulty for one in self.miner(address, key)[1].partitions()).to_json()

    async def recoveries(self, address: Address, key: Key) -> list[int]:
        """Return the sectors that recover."""
        return _union(one.recovering for one in self.miner(address, key)[1].partitions()).to_json()

    async def sectors(self, address: Address, which: Bitfield | None, key: Key) -> list[dict[str, Any]]:
        """Return sectors, all or those named."""
        _, miner = self.miner(address, key)
        numbers = sorted(miner.sectors) if which is None else which
        for number in numbers:
            if number not in miner.sectors:
                fail(f"failed to load sectors: can't find sector {number}")
        return [shapes.sector(miner.sectors[number]) for number in numbers]

    async def active(self, address: Address, key: Key) -> list[dict[str, Any]]:
        """Return the sectors that have power."""
        _, miner = self.miner(address, key)
        return [shapes.sector(miner.sectors[number]) for number in _union(one.active for one in miner.partitions())]

    async def count(self, address: Address, key: Key) -> dict[str, int]:
        """Return how many sectors there are."""
        partitions = self.miner(address, key)[1].partitions()
        return {
            "Live": sum(one.live.count for one in partitions),
            "Active": sum(one.active.count for one in partitions),
            "Faulty": sum(one.faulty.count for one in partitions),
        }

    async def sector(self, address: Address, number: int, key: Key) -> dict[str, Any] | None:
        """Return a sector, null if there is none."""
        found = self.miner(address, key)[1].sectors.get(number)
        return None if found is None else shapes.sector(found)

    async def pre_committed(self, address: Address, number: int, key: Key) -> dict[str, Any] | None:
        """Return a pre-committed sector, null if there is none."""
        found = self.miner(address, key)[1].pre_committed.get(number)
        if found is None:
            return None
        info = shapes.pre_commit(found.info)
        return {"Info": info, "PreCommitDeposit": str(found.deposit), "PreCommitEpoch": found.epoch}

    async def place(self, address: Address, number: int, key: Key) -> dict[str, int]:
        """Return where a sector is proved."""
        found = self.miner(address, key)[1].place_of(number)
        if found is None:
            fail(f"sector {number} not due at any deadline")
        return {"Deadline": found[0], "Partition": found[1]}

    async def expiration(self, address: Address, number: int, key: Key) -> dict[str, int]:
        """Return when a live sector ends, rounded up to the end of its deadline; early if it is faulty."""
        _, miner = self.miner(address, key)
        place = miner.place_of(number)
        partition = None if place is None else miner.deadlines[place[0]].partitions[place[1]]
        if place is None or partition is None or number not in partition.live:
            fail(f"failed to find sector {number}")

        def rounded(epoch: int) -> int:
            return deadlines.rounded_up(self.node.rules, miner, epoch, place[0])

        since = partition.faulty_since.get(number)
        if since is not None:
            return {"OnTime": 0, "Early": rounded(since + rules.FAULT_MAX_AGE)}
        return {"OnTime": rounded(miner.sectors[number].expiration), "Early": 0}

    # Money.

    async def deposit(self, address: Address, sector: PreCommit, key: Key) -> str:
        """Return the deposit of a pre-commit, and a tenth more."""
        _, miner = self.miner(address, key)
        return str(rules.quoted(rules.deposit(miner.sector_bytes)))

    async def pledge_of(self, address: Address, sector: PreCommit, key: Key) -> str:
        """Return the pledge of a sector without verified data, and a tenth more."""
        _, miner = self.miner(address, key)
        return str(rules.quoted(rules.pledge(miner.sector_bytes)))

    async def pledge(self, duration: int, size_bytes: int, verified_bytes: int, key: Key) -> str:
        """Return the pledge of a sector, and a tenth more."""
        if duration <= 0:
            fail("sector duration must greater than 0")
        if verified_bytes > size_bytes:
            fail(f"verified deal size {verified_bytes} exceeds the sector size {size_bytes}")
        return str(rules.quoted(rules.pledge(size_bytes + (rules.VERIFIED_FACTOR - 1) * verified_bytes)))

    async def creation_deposit(self, key: Key) -> str:
        """Return what a new miner has to bring."""
        return str(rules.creation_deposit(self.node.rules.sector_bytes))

    # Verified data.

    def _id(self, address: Address, key: Key) -> int:
        number = self.state(key).id_of(address)
        if number is None:
            fail(f"failed to resolve address {shapes.text(address)}: actor not found")
        return number

    async def allocation(self, client: Address, number: int, key: Key) -> dict[str, Any] | None:
        """Return an allocation of a client, null if there is none."""
        found = self.state(key).registry.allocations.get(number)
        return None if found is None or found.client != self._id(client, key) else _allocation(found)

    async def allocations(self, client: Address, key: Key) -> dict[str, Any]:
        """Return the allocations of a client, also expired ones."""
        who, all_of_them = self._id(client, key), self.state(key).registry.allocations
        return {str(number): _allocation(one) for number, one in all_of_them.items() if one.client == who}

    async def all_allocations(self, key: Key) -> dict[str, Any]:
        """Return the allocations of all."""
        return {str(number): _allocation(one) for number, one in self.state(key).registry.allocations.items()}

    async def claim(self, provider: Address, number: int, key: Key) -> dict[str, Any] | None:
        """Return a claim of a miner, null if there is none."""
        found = self.state(key).registry.claims.get(number)
        return None if found is None or found.provider != self._id(provider, key) else _claim(found)

    async def claims(self, provider: Address, key: Key) -> dict[str, Any]:
        """Return the claims of a miner, also those of dead sectors."""
        who, all_of_them = self._id(provider, key), self.state(key).registry.claims
        return {str(number): _claim(one) for number, one in all_of_them.items() if one.provider == who}

    async def all_claims(self, key: Key) -> dict[str, Any]:
        """Return the claims of all."""
        return {str(number): _claim(one) for number, one in self.state(key).registry.claims.items()}


def _power(of: tuple[int, int]) -> dict[str, str]:
    return {"RawBytePower": str(of[0]), "QualityAdjPower": str(of[1])}


def _partition(of: Partition) -> dict[str, Any]:
    return {
        "AllSectors": of.all.to_json(),
        "FaultySectors": of.faulty.to_json(),
        "RecoveringSectors": of.recovering.to_json(),
        "LiveSectors": of.live.to_json(),
        "ActiveSectors": of.active.to_json(),
    }


def _union(sets: Any) -> Bitfield:
    made = NOBODY
    for one in sets:
        made |= one
    return made


def _allocation(of: Allocation) -> dict[str, Any]:
    return {
        "Client": of.client,
        "Provider": of.provider,
        "Data": shapes.link(of.data),
        "Size": of.size_bytes,
        "TermMin": of.term_min,
        "TermMax": of.term_max,
        "Expiration": of.expiration,
    }


def _claim(of: Claim) -> dict[str, Any]:
    return {
        "Provider": of.provider,
        "Client": of.client,
        "Data": shapes.link(of.data),
        "Size": of.size_bytes,
        "TermMin": of.term_min,
        "TermMax": of.term_max,
        "TermStart": of.term_start,
        "Sector": of.sector,
    }

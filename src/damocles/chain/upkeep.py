"""Parameters of what is done with sectors that are on the chain: extend, declare, terminate, compact."""

from msgspec import field

from damocles.chain.amounts import Amount
from damocles.chain.bitfields import Bitfield
from damocles.chain.tuples import Byte, Int, Tuple, Uint
from damocles.wire.codec import Blob, Rows


class Declaration(Tuple, frozen=True):
    """Sectors of a partition: at fault, recovered, or to be terminated."""

    deadline: Uint = field(name="Deadline")
    partition: Uint = field(name="Partition")
    sectors: Bitfield = field(name="Sectors")


class DeclareFaults(Tuple, frozen=True):
    """Declare sectors faulty. Of one that is being recovered, it takes the recovery back."""

    faults: Rows[Declaration] = field(name="Faults")


class DeclareFaultsRecovered(Tuple, frozen=True):
    """Declare that faulty sectors can be proved again; they count from their next window PoSt on."""

    recoveries: Rows[Declaration] = field(name="Recoveries")


class TerminateSectors(Tuple, frozen=True):
    """End sectors before their time, for a fee; refused as a whole if one of them is not live."""

    terminations: Rows[Declaration] = field(name="Terminations")


class TerminateSectorsReturn(Tuple, frozen=True):
    """Whether all are processed; if not, the rest goes on by itself, or at a call without terminations."""

    done: bool = field(name="Done")


class Claims(Tuple, frozen=True):
    """A sector with verified data, and which of its claims are kept or dropped."""

    sector_number: Uint = field(name="SectorNumber")
    maintain: Rows[Uint] = field(name="MaintainClaims", default=Rows())
    drop: Rows[Uint] = field(name="DropClaims", default=Rows())


class Extension(Tuple, frozen=True, kw_only=True):
    """Sectors of a partition that are to live until another epoch; those with verified data are named with their claims."""

    deadline: Uint = field(name="Deadline")
    partition: Uint = field(name="Partition")
    sectors: Bitfield = field(name="Sectors", default=Bitfield())
    sectors_with_claims: Rows[Claims] = field(name="SectorsWithClaims", default=Rows())
    new_expiration: Int = field(name="NewExpiration")


class ExtendSectorExpiration2(Tuple, frozen=True):
    """Extend sectors. Exit code 0 does not say that anything was extended: read the sectors afterwards."""

    extensions: Rows[Extension] = field(name="Extensions")


class QualityUpgrade(Tuple, frozen=True):
    """Sectors of a partition that are to have ten times the power, and a new end of their lives if one is given."""

    deadline: Uint = field(name="Deadline")
    partition: Uint = field(name="Partition")
    sectors: Bitfield = field(name="Sectors")
    new_expiration: Int | None = field(name="NewExpiration", default=None)


class UpgradeSectorQuality(Tuple, frozen=True):
    """Raise the quality of sectors; from actors v19 on."""

    upgrades: Rows[QualityUpgrade] = field(name="Upgrades")


class CompactPartitions(Tuple, frozen=True):
    """Remove dead sectors from partitions of a deadline; the live ones may move to others."""

    deadline: Uint = field(name="Deadline")
    partitions: Bitfield = field(name="Partitions")


class CompactSectorNumbers(Tuple, frozen=True):
    """Give up sector numbers for ever, so that the set of those in use takes less room."""

    numbers: Bitfield = field(name="MaskSectorNumbers")


class SectorLocationParams(Tuple, frozen=True):
    """Ask for the status and place of a sector."""

    sector_number: Uint = field(name="SectorNumber")


class SectorLocation(Tuple, frozen=True):
    """Status (0 dead, 1 live, 2 faulty) and, in CBOR, deadline and partition; -1 for both where there is no place."""

    status: Byte = field(name="Status")
    place: Blob = field(name="AuxData")


class Place(Tuple, frozen=True):
    """Deadline and partition of a sector, -1 if it has none."""

    deadline: Int = field(name="Deadline")
    partition: Int = field(name="Partition")


class MaxTerminationFeeParams(Tuple, frozen=True):
    """Ask for the most that a termination can cost, by power in bytes and pledge in attoFIL."""

    power: Amount = field(name="Power")
    pledge: Amount = field(name="InitialPledge")

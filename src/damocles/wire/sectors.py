"""Sector ids and the proof types that go with a sector size.

Numbers are those of go-state-types' `abi.RegisteredSealProof`, `RegisteredPoStProof` and `RegisteredUpdateProof`;
names are the variant names of the crate filecoin-proofs-api, which the line protocol uses.
"""

import enum
import re
from typing import Annotated, Self

import msgspec

# What a number can be on the chain, and in a journal or database; anything else is refused where it is decoded.
MOST = 2**63 - 1
Natural = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Epoch = Annotated[int, msgspec.Meta(ge=-(2**63), le=MOST)]

_SECTOR_NAME = re.compile(r"s-[tf]0(\d+)-(\d+)")


class SectorID(msgspec.Struct, frozen=True, order=True):
    """A sector: the actor id of its miner and its number. One may be asked for by any number; see `check` of what is taken."""

    miner: Annotated[int, msgspec.Meta(ge=0)] = msgspec.field(name="Miner")
    number: Annotated[int, msgspec.Meta(ge=0)] = msgspec.field(name="Number")

    def check(self) -> None:
        """Refuse what the chain cannot have.

        Raises:
            ValueError: A number is too large.
        """
        for name, number in (("Miner", self.miner), ("Number", self.number)):
            if number > MOST:
                raise ValueError(f"{name} {number} is more than the chain can count")

    def __str__(self) -> str:
        """The name in files, logs and listings; the prefix is `t0` on every network."""
        return f"s-t0{self.miner}-{self.number}"

    @classmethod
    def parse(cls, name: str) -> "SectorID":
        """Read `s-t010000-2` (or `s-f010000-2`)."""
        match = _SECTOR_NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"{name!r} is not a sector: expected the form s-t010000-2")
        return cls(int(match[1]), int(match[2]))


def miner_id(text: str) -> int:
    """Read the actor id of a miner from its address, `f010000` or `t010000`, or as a number."""
    digits = text.strip().lower().removeprefix("f0").removeprefix("t0")
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f"{text!r} is no miner: write its address or number, like f010000, t010000 or 10000")
    return int(digits)


class SectorSize(enum.IntEnum):
    """The sector sizes of the network, in bytes."""

    KIB2 = 2 << 10
    MIB8 = 8 << 20
    MIB512 = 512 << 20
    GIB32 = 32 << 30
    GIB64 = 64 << 30

    @property
    def label(self) -> str:
        """The size as in proof names and configs: `2KiB`, `32GiB`."""
        return _SIZE_LABELS[self]

    @classmethod
    def parse(cls, text: str) -> "SectorSize":
        """Read `2KiB`, `8MiB`, `512MiB`, `32GiB` or `64GiB`, or the number of bytes."""
        for size, label in _SIZE_LABELS.items():
            if text.strip().lower() in {label.lower(), str(int(size))}:
                return size
        raise ValueError(f"{text!r} is not a sector size: use one of {', '.join(_SIZE_LABELS.values())}")


_SIZE_LABELS = {
    SectorSize.KIB2: "2KiB",
    SectorSize.MIB8: "8MiB",
    SectorSize.MIB512: "512MiB",
    SectorSize.GIB32: "32GiB",
    SectorSize.GIB64: "64GiB",
}
_SIZES = tuple(SectorSize)


class SealFamily(enum.Enum):
    """What distinguishes the four groups of seal proofs; the value is the suffix of the proof's name."""

    V1 = "V1"
    V1_1 = "V1_1"
    SYNTHETIC = "V1_1_Feat_SyntheticPoRep"
    NON_INTERACTIVE = "V1_2_Feat_NonInteractivePoRep"


_FAMILIES = tuple(SealFamily)


class SealProof(int):
    """A `RegisteredSealProof` by its number: 0-4 V1, 5-9 V1_1, 10-14 synthetic, 15-19 non-interactive."""

    __slots__ = ()

    def __new__(cls, number: int) -> Self:
        """Check that the number is a proof of the network."""
        if not 0 <= number < len(_FAMILIES) * len(_SIZES):
            raise ValueError(f"{number} is not a registered seal proof: expected 0 to 19")
        return super().__new__(cls, number)

    @classmethod
    def of(cls, size: SectorSize, family: SealFamily = SealFamily.V1_1) -> "SealProof":
        """Return the proof of a size in a family."""
        return cls(_FAMILIES.index(family) * len(_SIZES) + _SIZES.index(size))

    @classmethod
    def named(cls, name: str) -> "SealProof":
        """Return the proof that has this name in the line protocol."""
        for number in range(len(_FAMILIES) * len(_SIZES)):
            if (proof := cls(number)).proof_name == name:
                return proof
        raise ValueError(f"{name!r} is not a seal proof: expected a name like StackedDrg32GiBV1_1")

    @property
    def size(self) -> SectorSize:
        """The sector size."""
        return _SIZES[int(self) % len(_SIZES)]

    @property
    def family(self) -> SealFamily:
        """The group."""
        return _FAMILIES[int(self) // len(_SIZES)]

    @property
    def is_synthetic(self) -> bool:
        """Whether PC2 is followed by synthetic proofs."""
        return self.family is SealFamily.SYNTHETIC

    @property
    def is_non_interactive(self) -> bool:
        """Whether the proof needs no pre-commit and no seed."""
        return self.family is SealFamily.NON_INTERACTIVE

    @property
    def proof_name(self) -> str:
        """The name in the line protocol, `StackedDrg2KiBV1_1`."""
        return f"StackedDrg{self.size.label}{self.family.value}"

    @property
    def update_name(self) -> str:
        """The update proof of the same size, `StackedDrg2KiBV1`."""
        return f"StackedDrg{self.size.label}V1"

    @property
    def window_name(self) -> str:
        """The window PoSt proof of the same size."""
        return f"StackedDrgWindow{self.size.label}V1_2"

    @property
    def winning_name(self) -> str:
        """The winning PoSt proof of the same size."""
        return f"StackedDrgWinning{self.size.label}V1"

    def __repr__(self) -> str:
        return self.proof_name


def seal_proofs_of(size: SectorSize) -> tuple[SealProof, ...]:
    """Return the types a worker asks for when it allows a size: V1_1, synthetic, non-interactive."""
    return tuple(SealProof.of(size, f) for f in (SealFamily.V1_1, SealFamily.SYNTHETIC, SealFamily.NON_INTERACTIVE))


def post_names_of(size: SectorSize) -> tuple[str, ...]:
    """Return the PoSt proofs that a worker asks for when it allows a size: winning, window V1, window V1_2."""
    proof = SealProof.of(size)
    return (proof.winning_name, f"StackedDrgWindow{size.label}V1", proof.window_name)


def size_of_post(name: str) -> SectorSize | None:
    """Return the size of the sectors that a PoSt proof is about, by its name; `None` if there is no such proof."""
    return next((size for size in SectorSize if name in post_names_of(size)), None)


def prover_id(miner: int) -> bytes:
    """Return the 32 bytes that name a miner in proofs: its actor id as unsigned varint, zero-padded."""
    out = bytearray()
    while True:
        low, miner = miner & 0x7F, miner >> 7
        out.append(low | (0x80 if miner else 0))
        if not miner:
            return bytes(out).ljust(32, b"\0")

"""Tasks and outputs of the processor line protocol, one struct per stage.

Keys are Rust's; see the original's `vc-processors`. Outputs of PC1, PC2 and C1 are passed on unread (`msgspec.Raw`),
since only the proofs crate knows their insides. Paths are absolute.
"""

from typing import Literal

import msgspec

from damocles.wire.codec import Bytes32, NumberList


class PieceInfo(msgspec.Struct, frozen=True):
    """A piece in a sector: its commitment and unpadded bytes."""

    commitment: Bytes32
    size: int


class PieceSource(msgspec.Struct, frozen=True):
    """Where a piece comes from (`"pledge"` is zeros), its payload and its unpadded size in bytes."""

    piece_file: dict[str, str] | Literal["pledge"]  # {"url": …} or {"local": …}
    payload_size: int
    piece_size: int


class AddPieces(msgspec.Struct, frozen=True, omit_defaults=True):
    """Write the pieces into the staged file; output `list[PieceInfo]`.

    `tokens` are bearer tokens by origin (`http://10.0.0.2:1789`), for the first request to it, and `authorities` files
    with the authorities to trust there; a server at the origins of `must_know` has to show that it knows the
    token before it gets it. None of these is in the original's protocol; its processor sends none.
    """

    seal_proof_type: str
    pieces: list[PieceSource]
    staged_filepath: str
    tokens: dict[str, str] = {}
    authorities: dict[str, str] = {}
    must_know: list[str] = []


class TreeD(msgspec.Struct, frozen=True):
    """Build tree-d of the staged file in `cache_dir`; output `true`."""

    registered_proof: str
    staged_file: str
    cache_dir: str


class PC1(msgspec.Struct, frozen=True):
    """Label the graph: hours of sequential SHA-256 for 32GiB; output is PC1's JSON."""

    registered_proof: str
    cache_path: str
    in_path: str
    out_path: str
    prover_id: Bytes32
    sector_id: int
    ticket: Bytes32
    piece_infos: list[PieceInfo]


class PC2(msgspec.Struct, frozen=True):
    """Build tree-c and tree-r and encode the sealed file in place; output `PC2Output`."""

    pc1out: msgspec.Raw
    cache_dir: str
    sealed_file: str


class PC2Output(msgspec.Struct, frozen=True):
    """The two commitments of a sealed sector."""

    registered_proof: str
    comm_r: Bytes32
    comm_d: Bytes32


class SynthProof(msgspec.Struct, frozen=True):
    """Generate synthetic proofs, check them and drop the layers; output `true`. Not in the original's protocol."""

    registered_proof: str
    cache_dir: str
    sealed_file: str
    prover_id: Bytes32
    sector_id: int
    ticket: Bytes32
    pc2out: PC2Output
    piece_infos: list[PieceInfo]


class C1(msgspec.Struct, frozen=True):
    """Collect the vanilla proofs; output is C1's JSON. Not in the original's protocol: it runs C1 in its daemon."""

    registered_proof: str
    cache_dir: str
    sealed_file: str
    prover_id: Bytes32
    sector_id: int
    ticket: Bytes32
    seed: Bytes32
    pc2out: PC2Output
    piece_infos: list[PieceInfo]


class C2(msgspec.Struct, frozen=True):
    """Make the Groth16 proof; output `{"proof": [numbers]}`."""

    c1out: msgspec.Raw
    prover_id: Bytes32
    sector_id: int
    miner_id: int


class C2Output(msgspec.Struct, frozen=True):
    """A Groth16 proof: 192 bytes per partition."""

    proof: NumberList


class Route(msgspec.Struct, frozen=True):
    """Copy (or link) one file or folder; `opt` is `{"is_dir": bool, "allow_link": bool}` or null."""

    src: dict[str, str | None]  # {"store_name": …, "uri": "/abs"}
    dest: dict[str, str | None]
    opt: dict[str, bool] | None = None


class StoreInfo(msgspec.Struct, frozen=True):
    """A store that takes part in a transfer; `meta` is the manager's and means something to custom processors only."""

    name: str
    meta: dict[str, str] | None = None


class Fence(msgspec.Struct, frozen=True):
    """Refuse to an older attempt what a newer one has had; the file at `path` holds the newest number."""

    path: str
    attempt: int


class Keep(msgspec.Struct, frozen=True):
    """Replace files of a sector in a store only by those of the same replica.

    `replica` and `cache` are paths below both the folder `source` and the folder `store`.
    """

    sector: str
    source: str
    store: str
    replica: str
    cache: str


class Transfer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Run the routes in order; output `true`.

    With `fresh` nothing that is there is replaced, and the files are for their owner alone. The original's processors know
    neither `fence` nor `keep` nor `fresh`.
    """

    stores: dict[str, StoreInfo]
    routes: list[Route]
    fence: Fence | None = None
    keep: Keep | None = None
    fresh: bool = False


class SnapEncode(msgspec.Struct, frozen=True):
    """Encode new data into a sealed sector; output `SnapEncodeOutput`."""

    registered_proof: str
    new_replica_path: str
    new_cache_path: str
    sector_path: str
    sector_cache_path: str
    staged_data_path: str
    piece_infos: list[PieceInfo]


class SnapEncodeOutput(msgspec.Struct, frozen=True):
    """Commitments of the upgraded sector."""

    comm_r_new: Bytes32
    comm_r_last_new: Bytes32
    comm_d_new: Bytes32


class SnapVanilla(msgspec.Struct, frozen=True):
    """Collect the vanilla proofs of an upgrade; output `list[NumberList]`.

    Not in the original's protocol: it does this in its daemon.
    """

    registered_proof: str
    comm_r_old: Bytes32
    comm_r_new: Bytes32
    comm_d_new: Bytes32
    sector_path: str
    sector_cache_path: str
    new_replica_path: str
    new_cache_path: str


class SnapProve(msgspec.Struct, frozen=True):
    """Make the Groth16 proof of an upgrade; output is the proof as an array of numbers. The spelling is the original's."""

    registered_proof: str
    vannilla_proofs: list[NumberList]
    comm_r_old: Bytes32
    comm_r_new: Bytes32
    comm_d_new: Bytes32


class SnapVerify(msgspec.Struct, frozen=True):
    """Verify the proof of an upgrade; output is a boolean. Not in the original's protocol: it does this in its daemon."""

    registered_proof: str
    proof: NumberList
    comm_r_old: Bytes32
    comm_r_new: Bytes32
    comm_d_new: Bytes32


class SnapDecode(msgspec.Struct, frozen=True):
    """Get a range (unpadded bytes) of an upgraded sector's data back; output is the number of bytes.

    Reads the replica from before the upgrade (`sector_path`) as well. Not in the original's protocol.
    """

    registered_proof: str
    replica_path: str
    sector_path: str
    sector_cache_path: str
    comm_d_new: Bytes32
    unsealed_output: str
    offset: int
    num_bytes: int


class Replica(msgspec.Struct, frozen=True):
    """A sector to prove in a PoSt."""

    sector_id: int
    comm_r: Bytes32
    cache_dir: str
    sealed_file: str


class WindowPoSt(msgspec.Struct, frozen=True):
    """Prove sectors of one miner; output `{"proofs": [base64], "faults": [sector numbers]}`."""

    miner_id: int
    proof_type: str
    replicas: list[Replica]
    seed: Bytes32


class WindowPoStOutput(msgspec.Struct, frozen=True):
    """The proofs (base64 on the wire), or the sectors that cannot be proved; never both."""

    proofs: list[bytes]
    faults: list[int] = []


class CheckReplicas(msgspec.Struct, frozen=True):
    """Read of each sector what a window PoSt with this seed would; output `list[Fault]`, empty if all is well.

    A sector that has not answered after `seconds` is a fault too. Not in the original's protocol.
    """

    miner_id: int
    proof_type: str
    replicas: list[Replica]
    seed: Bytes32
    seconds: float


class Fault(msgspec.Struct, frozen=True):
    """A sector that cannot be proved, and why.

    `was_read` means that its files are there and have their lengths, and that what they hold is wrong.
    """

    sector_id: int
    reason: str
    was_read: bool = False


class PublicReplica(msgspec.Struct, frozen=True):
    """A sector as a verifier knows it."""

    sector_id: int
    comm_r: Bytes32


class VerifyWindowPoSt(msgspec.Struct, frozen=True):
    """Verify a window PoSt; output is a boolean. Not in the original's protocol: the manager uses it."""

    miner_id: int
    proof_type: str
    replicas: list[PublicReplica]
    seed: Bytes32
    proof: bytes  # base64


class VerifyWinningPoSt(VerifyWindowPoSt, frozen=True):
    """Verify a winning PoSt over the challenged sectors; only the devnode asks for it so."""


class WinningPoStOutput(msgspec.Struct, frozen=True):
    """The proofs (base64 on the wire)."""

    proofs: list[bytes]


class Unseal(msgspec.Struct, frozen=True):
    """Unseal a range (unpadded bytes) into `unsealed_output`; output is the number of bytes."""

    registered_proof: str
    prover_id: Bytes32
    sector_id: int
    comm_d: Bytes32
    ticket: Bytes32
    cache_dir: str
    sealed_file: str
    unsealed_output: str
    offset: int
    num_bytes: int


class VerifySeal(msgspec.Struct, frozen=True):
    """Verify a PoRep proof; output is a boolean. Not in the original's protocol: the manager uses it."""

    registered_proof: str
    comm_r: Bytes32
    comm_d: Bytes32
    prover_id: Bytes32
    sector_id: int
    ticket: Bytes32
    seed: Bytes32
    proof: bytes  # base64


class AggregateSeals(msgspec.Struct, frozen=True):
    """Make one proof of the PoRep proofs of several sectors, all lists in their order; output is the aggregate.

    Not in the original's protocol: its daemon does this itself.
    """

    registered_proof: str
    aggregation: str
    comm_rs: list[Bytes32]
    seeds: list[Bytes32]
    proofs: list[bytes]  # base64


class Upload(msgspec.Struct, frozen=True):
    """PUT a file to a URL with these headers; output is the number of bytes. Not in the original's protocol.

    `authority` is a file with the authorities to trust, instead of those of the system. A server has to show that it knows a `known_token` among the
    headers before it gets it.
    """

    file: str
    url: str
    headers: dict[str, str] = {}
    authority: str | None = None
    known_token: str | None = None

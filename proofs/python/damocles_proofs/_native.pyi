# ruff: noqa: PYI021 - this stub is where the functions are documented
"""The proofs of Filecoin, as functions over names, paths and bytes.

Common to all of them:

*   ``registered_proof`` is the name that filecoin-proofs-api gives the proof type, for example ``StackedDrg2KiBV1_1``
    (seal), ``StackedDrg2KiBV1`` (update), ``StackedDrgWindow2KiBV1_2`` or ``StackedDrgWinning2KiBV1`` (PoSt). An
    unknown name is a `ValueError` that lists the valid ones.
*   Commitments, tickets, seeds, randomness and prover ids are `bytes` of length 32; another length is a `ValueError`
    that names the argument. A prover id is the payload of the miner's id address, padded with zeros.
*   Sizes are in bytes. ``piece_size``, ``offset`` and ``num_bytes`` count unpadded bytes (127 of them become 128 in a
    sector); ``sector_size`` counts padded bytes.
*   Every function lets other Python threads run while it works, and cannot be interrupted: run long ones in a child
    process.
*   Failures are the classes of `damocles_proofs._errors`: `FileError` for an input that is missing, unreadable or of
    the wrong kind (checked before the work starts), `PanicError` for a panic inside the library (replace the process
    then), `ProofsError` for the rest.
*   The library reads its settings (``FIL_PROOFS_…``, ``./rust-fil-proofs.config.toml``) once, at the first call that
    needs one. Set the environment before.
"""

from collections.abc import Sequence
from os import PathLike
from typing import TypeAlias, final

__all__ = [
    "C1Output",
    "ParamSet",
    "Pc1Output",
    "Pc2Output",
    "PieceInfo",
    "PrivateReplica",
    "PublicReplica",
    "SealClaim",
    "UpdateEncoded",
    "add_piece",
    "aggregate_seal_proofs",
    "bls_generate_key",
    "bls_public_key",
    "bls_sign",
    "bls_verify",
    "c1",
    "c2",
    "c2_circuit_proofs",
    "clear_cache",
    "clear_synthetic_proofs",
    "compute_comm_d",
    "generate_fallback_sector_challenges",
    "generate_params",
    "generate_piece_commitment",
    "generate_single_vanilla_proof",
    "generate_single_window_post_with_vanilla",
    "generate_srs",
    "generate_synth_proofs",
    "generate_window_post",
    "generate_window_post_with_vanilla",
    "generate_winning_post",
    "generate_winning_post_sector_challenge",
    "generate_winning_post_with_vanilla",
    "get_num_partition_for_fallback_post",
    "get_seal_inputs",
    "merge_window_post_partition_proofs",
    "parameter_cache_dir",
    "parameters_manifest",
    "params_for",
    "pc1",
    "pc2",
    "srs_manifest",
    "srs_name",
    "tree_d",
    "unseal_range",
    "update_decode_from",
    "update_encode_into",
    "update_partition_proofs",
    "update_prove",
    "update_prove_with_vanilla",
    "update_remove_encoded_data",
    "update_verify",
    "update_verify_partition_proofs",
    "verify_aggregate_seal_proofs",
    "verify_batch_seal",
    "verify_seal",
    "verify_window_post",
    "verify_winning_post",
    "zero_piece",
]

_StrPath: TypeAlias = str | PathLike[str]

# Records ----------------------------------------------------------------------------------------------------------

@final
class PieceInfo:
    """A piece in a sector: its commitment, and its size in unpadded bytes."""

    def __new__(cls, commitment: bytes, size: int) -> PieceInfo: ...
    @property
    def commitment(self) -> bytes: ...
    @property
    def size(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...

@final
class Pc1Output:
    """What PC1 leaves for PC2: where the layers and tree-d are, and CommD."""

    @staticmethod
    def from_json(data: bytes) -> Pc1Output:
        """Read the JSON of filecoin-proofs-api; `ValueError` says what is wrong with it."""

    def to_json(self) -> bytes:
        """Write ``{"registered_proof", "labels", "config", "comm_d"}``, byte for byte what filecoin-proofs-api writes."""

    @property
    def registered_proof(self) -> str: ...
    @property
    def comm_d(self) -> bytes: ...

@final
class Pc2Output:
    """The two commitments of a sealed sector."""

    def __new__(cls, registered_proof: str, comm_r: bytes, comm_d: bytes) -> Pc2Output: ...
    @staticmethod
    def from_json(data: bytes) -> Pc2Output:
        """Read the JSON of filecoin-proofs-api; `ValueError` says what is wrong with it."""

    def to_json(self) -> bytes:
        """Write ``{"registered_proof", "comm_r", "comm_d"}``."""

    @property
    def registered_proof(self) -> str: ...
    @property
    def comm_r(self) -> bytes: ...
    @property
    def comm_d(self) -> bytes: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...

@final
class C1Output:
    """The vanilla proofs that C2 turns into a SNARK; 100 kB of JSON for 2KiB, tens of MB for 32GiB."""

    @staticmethod
    def from_json(data: bytes) -> C1Output:
        """Read the JSON of filecoin-proofs-api; `ValueError` says what is wrong with it."""

    def to_json(self) -> bytes:
        """Write ``{"registered_proof", "vanilla_proofs", "comm_r", "comm_d", "replica_id", "seed", "ticket"}``."""

    @property
    def registered_proof(self) -> str: ...
    @property
    def comm_r(self) -> bytes: ...
    @property
    def comm_d(self) -> bytes: ...
    @property
    def seed(self) -> bytes: ...
    @property
    def ticket(self) -> bytes: ...

@final
class SealClaim:
    """One sealed sector with its proof, for `verify_batch_seal`."""

    def __new__(
        cls,
        comm_r: bytes,
        comm_d: bytes,
        prover_id: bytes,
        sector_id: int,
        ticket: bytes,
        seed: bytes,
        proof: bytes,
    ) -> SealClaim: ...
    @property
    def comm_r(self) -> bytes: ...
    @property
    def comm_d(self) -> bytes: ...
    @property
    def prover_id(self) -> bytes: ...
    @property
    def sector_id(self) -> int: ...
    @property
    def ticket(self) -> bytes: ...
    @property
    def seed(self) -> bytes: ...
    @property
    def proof(self) -> bytes: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...

@final
class UpdateEncoded:
    """The commitments of an updated sector."""

    def __new__(cls, comm_r_new: bytes, comm_r_last_new: bytes, comm_d_new: bytes) -> UpdateEncoded: ...
    @staticmethod
    def from_json(data: bytes) -> UpdateEncoded:
        """Read the JSON of filecoin-proofs-api; `ValueError` says what is wrong with it."""

    def to_json(self) -> bytes:
        """Write ``{"comm_r_new", "comm_r_last_new", "comm_d_new"}``."""

    @property
    def comm_r_new(self) -> bytes: ...
    @property
    def comm_r_last_new(self) -> bytes: ...
    @property
    def comm_d_new(self) -> bytes: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...

@final
class PrivateReplica:
    """A sealed sector on disk, as a PoSt reads it: ``cache_dir`` holds ``p_aux`` and the tree-r-last files."""

    def __new__(cls, sector_id: int, comm_r: bytes, cache_dir: _StrPath, sealed_path: _StrPath) -> PrivateReplica: ...
    @property
    def sector_id(self) -> int: ...
    @property
    def comm_r(self) -> bytes: ...
    @property
    def cache_dir(self) -> str: ...
    @property
    def sealed_path(self) -> str: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...

@final
class PublicReplica:
    """A sealed sector as a verifier knows it."""

    def __new__(cls, sector_id: int, comm_r: bytes) -> PublicReplica: ...
    @property
    def sector_id(self) -> int: ...
    @property
    def comm_r(self) -> bytes: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...

@final
class ParamSet:
    """The files of one circuit: ``params``, ``vk`` and ``meta`` are base names in `parameter_cache_dir`."""

    @property
    def kind(self) -> str: ...
    @property
    def sector_size(self) -> int: ...
    @property
    def identifier(self) -> str: ...
    @property
    def params(self) -> str: ...
    @property
    def vk(self) -> str: ...
    @property
    def meta(self) -> str: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...

# Pieces and CommD -------------------------------------------------------------------------------------------------

def add_piece(
    registered_proof: str, source_fd: int | None, payload_size: int, piece_size: int, staged_path: _StrPath
) -> PieceInfo:
    """Append a piece to the staged file, which is made if it is not there.

    Reads ``payload_size`` bytes from the descriptor ``source_fd`` (from where it stands; it stays open) and goes on
    with zeros up to ``piece_size``. Without a source all bytes are zeros and ``payload_size`` must be 0. Bits are
    padded on the way, so the file grows by ``piece_size / 127 * 128``. Pieces are not aligned: bring them in an order
    that needs no gap.

    Raises `ProofsError` when the source ends early; the staged file is cut back to its old length then, as after any
    other failure.
    """

def generate_piece_commitment(
    registered_proof: str, source_fd: int | None, payload_size: int, piece_size: int
) -> PieceInfo:
    """Compute what `add_piece` returns for the same source, without writing."""

def zero_piece(piece_size: int) -> PieceInfo:
    """Return the piece of ``piece_size`` zeros, from a table of hashes: no data is read, whatever the size."""

def compute_comm_d(registered_proof: str, pieces: Sequence[PieceInfo]) -> bytes:
    """Compute CommD of a sector from its pieces; what is missing at the end counts as zeros."""

# Sealing ----------------------------------------------------------------------------------------------------------

def tree_d(registered_proof: str, staged_path: _StrPath, cache_dir: _StrPath) -> bytes:
    """Build tree-d of the staged file as ``<cache_dir>/sc-02-data-tree-d.dat`` and return its root, CommD.

    The staged file has the sector size. An existing tree-d is replaced; if it is a symbolic link, the link is replaced
    and its target stays as it is. A tree under its final name is whole: a killed call leaves another name behind.
    """

def pc1(
    registered_proof: str,
    cache_dir: _StrPath,
    staged_path: _StrPath,
    sealed_path: _StrPath,
    prover_id: bytes,
    sector_id: int,
    ticket: bytes,
    pieces: Sequence[PieceInfo],
) -> Pc1Output:
    """Compute the layers of a sector into ``cache_dir``, and copy the staged file to ``sealed_path``.

    Takes tree-d from the cache folder, where `tree_d` or a symbolic link has put it, and reads only its root: a tree-d
    of the wrong length or with another root than the pieces give is refused. Builds it if there is none. Layer files
    that are there already and have the right length are taken as they are, so a killed call goes on after its last
    whole layer; the folder must hold none of another ticket.

    Both ``cache_dir`` and ``sealed_path`` exist before the call; the sealed file's content does not matter.
    ``FIL_PROOFS_USE_MULTICORE_SDR=1`` makes this up to ten times faster at the price of several cores. A cache of
    parents, 56 bytes per node, is kept per proof type in ``FIL_PROOFS_PARENT_CACHE`` (``/var/tmp/filecoin-parents``);
    a call that was killed while making it leaves a marker, and the next one makes it again.
    """

def pc2(pc1_output: Pc1Output, cache_dir: _StrPath, sealed_path: _StrPath) -> Pc2Output:
    """Build tree-c and tree-r-last, and turn the copy of the staged data at ``sealed_path`` into the replica.

    The file is encoded in place. A call that was killed leaves it half encoded, and a second call would encode it
    again and return another CommR: restore the copy of the staged data before a second try.
    """

def generate_synth_proofs(
    cache_dir: _StrPath,
    sealed_path: _StrPath,
    prover_id: bytes,
    sector_id: int,
    ticket: bytes,
    pc2_output: Pc2Output,
    pieces: Sequence[PieceInfo],
) -> None:
    """Write the synthetic vanilla proofs of a sector into its cache folder.

    Only for proof types with ``SyntheticPoRep``. Needs the layers; afterwards they are needed no more (`clear_cache`).
    """

def c1(
    cache_dir: _StrPath,
    sealed_path: _StrPath,
    prover_id: bytes,
    sector_id: int,
    ticket: bytes,
    seed: bytes,
    pc2_output: Pc2Output,
    pieces: Sequence[PieceInfo],
) -> C1Output:
    """Prove the challenged nodes of a sector without a SNARK.

    Reads the layers, or the synthetic proofs if the proof type has them. Non-interactive proof types ignore ``seed``,
    but C2 refuses a seed of zeros. The text of a refusal is not the same each time for the same input.
    """

def c2(c1_output: C1Output, prover_id: bytes, sector_id: int) -> bytes:
    """Prove a sector: 192 bytes per partition, verified before it is returned.

    The SNARK is made by our own prover, or by the crate's in builds for GPUs. ``DAMOCLES_PROVER`` chooses: ``damocles``,
    ``portable`` (ours, without AVX-512) or ``bellperson`` (the crate's). Window and winning PoSts and updates follow it.

    Non-interactive proof types give the aggregated proof, and need the SRS file besides the parameters.
    Raises `ProofsError` ``No cached parameters found for … [failure finding …]`` without parameters.
    """

def c2_circuit_proofs(c1_output: C1Output, sector_id: int) -> bytes:
    """Prove a sector without aggregation; input of `aggregate_seal_proofs`.

    Our prover verifies the partitions, in one batch; the crate's verifies nothing here.
    """

def aggregate_seal_proofs(
    registered_proof: str,
    aggregation: str,
    comm_rs: Sequence[bytes],
    seeds: Sequence[bytes],
    proofs: Sequence[bytes],
) -> bytes:
    """Aggregate the seal proofs of several sectors; ``aggregation`` is ``SnarkPackV1`` or ``SnarkPackV2``.

    The three lists are in the same order. Non-interactive proofs come from `c2_circuit_proofs`, others from `c2`.
    """

def get_seal_inputs(
    registered_proof: str,
    comm_r: bytes,
    comm_d: bytes,
    prover_id: bytes,
    sector_id: int,
    ticket: bytes,
    seed: bytes,
) -> list[list[bytes]]:
    """Return the public inputs of a sector's circuits, a list for each partition, scalars as 32 little-endian bytes."""

def verify_aggregate_seal_proofs(
    registered_proof: str,
    aggregation: str,
    aggregate: bytes,
    comm_rs: Sequence[bytes],
    seeds: Sequence[bytes],
    inputs: Sequence[Sequence[bytes]],
) -> bool:
    """Check an aggregate; ``inputs`` are the lists of `get_seal_inputs` of all sectors, joined in the same order."""

def verify_seal(
    registered_proof: str,
    comm_r: bytes,
    comm_d: bytes,
    prover_id: bytes,
    sector_id: int,
    ticket: bytes,
    seed: bytes,
    proof: bytes,
) -> bool:
    """Check the proof of a sector. Needs the ``.vk`` file of the circuit."""

def verify_batch_seal(registered_proof: str, claims: Sequence[SealClaim]) -> bool:
    """Check the proofs of many sectors at once; one bad proof makes the answer `False`."""

def unseal_range(
    registered_proof: str,
    cache_dir: _StrPath,
    sealed_path: _StrPath,
    output_path: _StrPath,
    prover_id: bytes,
    sector_id: int,
    comm_d: bytes,
    ticket: bytes,
    offset: int,
    num_bytes: int,
) -> int:
    """Write unpadded bytes ``offset`` to ``offset + num_bytes`` of a sector's data to a file; return how many.

    The bytes are right only if ``offset`` is a multiple of 127: otherwise they are wrong, without an error, and close to
    the end of the sector the library panics.

    The whole sector is unsealed each time, at the cost of PC1. ``cache_dir`` is a place for layers, in the subfolder
    ``unsealing``, which is made anew and goes when the call ends: any folder with room for one layer, and with
    ``FIL_PROOFS_USE_MULTICORE_SDR`` for all of them, used by one call at a time. The output is made anew. The sealed
    file stays as it is, but the library opens it for writing. A wrong ticket, prover id or CommD gives wrong bytes, not
    an error.
    """

def clear_cache(cache_dir: _StrPath) -> None:
    """Remove tree-d, tree-c and the layers from a cache folder; no file there is no error."""

def clear_synthetic_proofs(cache_dir: _StrPath) -> None:
    """Remove the synthetic vanilla proofs from a cache folder; no file there is no error."""

# Sector update (snap deals) ---------------------------------------------------------------------------------------

def update_encode_into(
    registered_proof: str,
    new_replica_path: _StrPath,
    new_cache_dir: _StrPath,
    sector_key_path: _StrPath,
    sector_key_cache_dir: _StrPath,
    staged_path: _StrPath,
    pieces: Sequence[PieceInfo],
) -> UpdateEncoded:
    """Encode staged data into a sealed sector without data, the sector key, as a new replica.

    ``new_replica_path`` exists and has the sector size. ``new_cache_dir`` gets the new trees, ``p_aux`` and ``t_aux``.
    The key's own cache holds its ``p_aux`` and ``t_aux``.
    """

def update_decode_from(
    registered_proof: str,
    output_path: _StrPath,
    replica_path: _StrPath,
    sector_key_path: _StrPath,
    sector_key_cache_dir: _StrPath,
    comm_d_new: bytes,
) -> None:
    """Write the data of an updated sector, bits still padded, to ``output_path``, which exists with the sector size."""

def update_remove_encoded_data(
    registered_proof: str,
    sector_key_path: _StrPath,
    sector_key_cache_dir: _StrPath,
    replica_path: _StrPath,
    key_aux_dir: _StrPath,
    data_path: _StrPath,
    comm_d_new: bytes,
) -> None:
    """Compute the sector key from an updated sector and its staged data.

    ``sector_key_path`` exists with the sector size and is overwritten; its cache folder gets tree-r-last, ``p_aux`` and
    ``t_aux``. ``key_aux_dir`` holds ``p_aux`` and ``t_aux`` from before the update; those of the updated sector give
    wrong bytes, not an error.
    """

def update_partition_proofs(
    registered_proof: str,
    comm_r_old: bytes,
    comm_r_new: bytes,
    comm_d_new: bytes,
    sector_key_path: _StrPath,
    sector_key_cache_dir: _StrPath,
    replica_path: _StrPath,
    replica_cache_dir: _StrPath,
) -> list[bytes]:
    """Return the vanilla proofs of an update, one for each partition."""

def update_verify_partition_proofs(
    registered_proof: str, vanilla_proofs: Sequence[bytes], comm_r_old: bytes, comm_r_new: bytes, comm_d_new: bytes
) -> bool:
    """Check vanilla proofs of an update. Needs no parameters."""

def update_prove_with_vanilla(
    registered_proof: str, vanilla_proofs: Sequence[bytes], comm_r_old: bytes, comm_r_new: bytes, comm_d_new: bytes
) -> bytes:
    """Turn the vanilla proofs of an update into its proof."""

def update_prove(
    registered_proof: str,
    comm_r_old: bytes,
    comm_r_new: bytes,
    comm_d_new: bytes,
    sector_key_path: _StrPath,
    sector_key_cache_dir: _StrPath,
    replica_path: _StrPath,
    replica_cache_dir: _StrPath,
) -> bytes:
    """Prove an update in one go: `update_partition_proofs`, then `update_prove_with_vanilla`."""

def update_verify(registered_proof: str, proof: bytes, comm_r_old: bytes, comm_r_new: bytes, comm_d_new: bytes) -> bool:
    """Check the proof of an update."""

# Proof of spacetime -----------------------------------------------------------------------------------------------
#
# `randomness` is a scalar: clear the two highest bits of its last byte first.

def generate_winning_post_sector_challenge(
    registered_proof: str, randomness: bytes, sector_count: int, prover_id: bytes
) -> list[int]:
    """Return the indices of the sectors that a winning PoSt must prove, out of ``sector_count``."""

def generate_fallback_sector_challenges(
    registered_proof: str, randomness: bytes, sector_ids: Sequence[int], prover_id: bytes
) -> dict[int, list[int]]:
    """Return the challenged leaves of each sector.

    For ``StackedDrgWindow…V1_2`` they depend on the randomness and the sector's number alone, for ``…V1`` on its place
    in the list as well. A winning PoSt has one sector; any others of the list are ignored.
    """

def generate_single_vanilla_proof(registered_proof: str, replica: PrivateReplica, challenges: Sequence[int]) -> bytes:
    """Prove the challenged leaves of one sector without a SNARK."""

def generate_winning_post_with_vanilla(
    registered_proof: str, randomness: bytes, prover_id: bytes, vanilla_proofs: Sequence[bytes]
) -> bytes:
    """Turn the vanilla proof of a winning PoSt into its proof."""

def generate_winning_post(
    registered_proof: str, randomness: bytes, replicas: Sequence[PrivateReplica], prover_id: bytes
) -> bytes:
    """Prove a winning PoSt from the sectors on disk. Raises `FaultySectorsError`."""

def generate_window_post_with_vanilla(
    registered_proof: str, randomness: bytes, prover_id: bytes, vanilla_proofs: Sequence[bytes]
) -> bytes:
    """Turn the vanilla proofs of a window PoSt into its proof.

    They are taken in the order of the sectors' numbers. The library's own prover (``DAMOCLES_PROVER=bellperson``) does
    not sort them: in another order its proof never verifies, without an error.
    """

def generate_window_post(
    registered_proof: str, randomness: bytes, replicas: Sequence[PrivateReplica], prover_id: bytes
) -> bytes:
    """Prove a window PoSt from the sectors on disk, in the order of their numbers.

    Raises `FaultySectorsError` with the numbers of all sectors that cannot be proved.
    """

def generate_single_window_post_with_vanilla(
    registered_proof: str, randomness: bytes, prover_id: bytes, vanilla_proofs: Sequence[bytes], partition_index: int
) -> bytes:
    """Prove one partition of a window PoSt; ``vanilla_proofs`` are those of its sectors, in the order of their numbers."""

def merge_window_post_partition_proofs(registered_proof: str, partition_proofs: Sequence[bytes]) -> bytes:
    """Join the proofs of all partitions, in order, into one window PoSt."""

def get_num_partition_for_fallback_post(registered_proof: str, sector_count: int) -> int:
    """Return the number of partitions of a window PoSt over ``sector_count`` sectors."""

def verify_winning_post(
    registered_proof: str, randomness: bytes, proof: bytes, replicas: Sequence[PublicReplica], prover_id: bytes
) -> bool:
    """Check a winning PoSt over the challenged sectors."""

def verify_window_post(
    registered_proof: str, randomness: bytes, proof: bytes, replicas: Sequence[PublicReplica], prover_id: bytes
) -> bool:
    """Check a window PoSt over all sectors of the deadline's partitions."""

# BLS signatures ---------------------------------------------------------------------------------------------------

def bls_generate_key(seed: bytes) -> bytes:
    """Derive a private key (32 bytes, little-endian as Filecoin wallets keep it) from a seed of 32 bytes or more."""

def bls_public_key(private_key: bytes) -> bytes:
    """Return the public key, 48 bytes: the payload of a ``t3`` address."""

def bls_sign(private_key: bytes, message: bytes) -> bytes:
    """Sign a message: 96 bytes."""

def bls_verify(signature: bytes, message: bytes, public_key: bytes) -> bool:
    """Check a signature. Bytes that are no point of the curve do not verify."""

# Groth16 parameters -----------------------------------------------------------------------------------------------
#
# `kind` is `porep`, `wdpost`, `winning` or `update`; `sector_size` is 2048, 8388608, 536870912, 34359738368 or
# 68719476736.

def parameters_manifest() -> str:
    """Return the crate's ``parameters.json``: name of each published file to ``{cid, digest, sector_size}``."""

def srs_manifest() -> str:
    """Return the crate's ``srs-inner-product.json``: the same for the file that aggregation needs."""

def parameter_cache_dir() -> str:
    """Return the folder of the parameters: ``FIL_PROOFS_PARAMETER_CACHE`` or its default."""

def srs_name() -> str:
    """Return the base name of the file that aggregation needs."""

def params_for(kind: str, sector_size: int) -> ParamSet:
    """Name the files of one circuit.

    The name is a hash of the circuit, not of the proof type. The challenges per partition are the same for plain,
    synthetic and non-interactive PoRep of a sector size, so all of them share one set.
    """

def generate_params(kind: str, sector_size: int, *, generator: str = "damocles") -> ParamSet:
    """Make the files of one circuit for a test network, if they are not there.

    Home-made parameters prove nothing on a real network: whoever made them can forge proofs, and real networks know
    only the published ones. Sectors of 32GiB and more are therefore refused with `ValueError`.

    ``generator`` is ours, or ``bellperson`` for the crate's, which takes many times as long and as much memory; the files
    of both are interchangeable. Files appear under their names when they are whole; until then our generator's file has
    its final length, and as many blocks as are written. Two processes that want the same set wait for each other.
    """

def generate_srs() -> str:
    """Make the file that aggregation needs for a test network, if it is not there; return its base name.

    Like `generate_params`, of no value on a real network.
    """

"""The field's proofs, in our types: tasks of the line protocol in, their outputs out.

With `damocles.bls` the only importer of `damocles_proofs`. Calls take minutes to hours and cannot be interrupted: they belong into child
processes, never into a daemon. `damocles_proofs/_native.pyi` documents what a call needs and leaves behind.
"""

from damocles.proofs.errors import FaultySectors, FileUnusable, ProofsError, ProofsPanic
from damocles.proofs.parameters import (
    generate_aggregation,
    generate_parameters,
    parameter_cache_dir,
    parameter_files,
    parameters_manifest,
    srs_manifest,
)
from damocles.proofs.pieces import add_piece, data_commitment, piece_commitment, zero_piece
from damocles.proofs.post import (
    check_replica,
    scalar,
    verify_window_post,
    verify_winning_post,
    window_challenges,
    window_post,
    winning_challenge,
    winning_post,
)
from damocles.proofs.seal import (
    aggregate_seals,
    c1,
    c2,
    generate_synthetic,
    pc1,
    pc2,
    tree_d,
    unseal,
    verify_aggregate,
    verify_seal,
)
from damocles.proofs.update import snap_decode, snap_encode, snap_prove, snap_vanilla, snap_verify

__all__ = [
    "FaultySectors",
    "FileUnusable",
    "ProofsError",
    "ProofsPanic",
    "add_piece",
    "aggregate_seals",
    "c1",
    "c2",
    "check_replica",
    "data_commitment",
    "generate_aggregation",
    "generate_parameters",
    "generate_synthetic",
    "parameter_cache_dir",
    "parameter_files",
    "parameters_manifest",
    "pc1",
    "pc2",
    "piece_commitment",
    "scalar",
    "snap_decode",
    "snap_encode",
    "snap_prove",
    "snap_vanilla",
    "snap_verify",
    "srs_manifest",
    "tree_d",
    "unseal",
    "verify_aggregate",
    "verify_seal",
    "verify_window_post",
    "verify_winning_post",
    "window_challenges",
    "window_post",
    "winning_challenge",
    "winning_post",
    "zero_piece",
]

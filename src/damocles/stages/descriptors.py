"""The stages, as a table of facts.

Names, tasks and outputs are the original's (`vc-processors`), except for those marked as ours: the original does them
inside its daemon.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from damocles.wire import codec, tasks

ALL = "all"  # name of a child that serves every stage; its requests say which


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage: its name in the protocol, what goes in, what comes out, and how it may be run."""

    name: str
    label: str
    about: str
    task: type[msgspec.Struct]
    output: Any
    # Reads gigabytes of Groth16 parameters first: its child is kept for the next task, whichever sector that is of.
    keeps_parameters: bool = False
    needs_proofs: bool = True
    # Tasks at a time when nobody has set a limit; None means as many as there are sealing threads.
    default_concurrency: int | None = None
    is_ours: bool = False


STAGES: Mapping[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            name="add_pieces",
            label="AddPieces",
            about="write the pieces of a sector into its staged file",
            task=tasks.AddPieces,
            output=list[tasks.PieceInfo],
        ),
        Stage(
            name="tree_d",
            label="TreeD",
            about="build the Merkle tree over the staged file",
            task=tasks.TreeD,
            output=bool,
        ),
        Stage(
            name="pc1",
            label="PC1",
            about="label the graph, layer after layer",
            task=tasks.PC1,
            output=msgspec.Raw,
        ),
        Stage(
            name="pc2",
            label="PC2",
            about="build the trees over the layers and encode the replica",
            task=tasks.PC2,
            output=tasks.PC2Output,
        ),
        Stage(
            name="synth_proof",
            label="SyntheticPoRep",
            about="store vanilla proofs for every possible challenge and drop the layers",
            task=tasks.SynthProof,
            output=bool,
            is_ours=True,
        ),
        Stage(
            name="c1",
            label="C1",
            about="collect the vanilla proofs that a seed asks for",
            task=tasks.C1,
            output=msgspec.Raw,
            is_ours=True,
        ),
        Stage(
            name="c2",
            label="C2",
            about="make the SNARK over the vanilla proofs",
            task=tasks.C2,
            output=tasks.C2Output,
            keeps_parameters=True,
            default_concurrency=1,
        ),
        Stage(
            name="snap_encode",
            label="SnapEncode",
            about="encode new data into a sealed sector",
            task=tasks.SnapEncode,
            output=tasks.SnapEncodeOutput,
        ),
        Stage(
            name="snap_vanilla",
            label="SnapVanilla",
            about="collect the vanilla proofs of an upgrade, and check them",
            task=tasks.SnapVanilla,
            output=list[codec.NumberList],
            is_ours=True,
        ),
        Stage(
            name="snap_prove",
            label="SnapProve",
            about="make the SNARK of an upgrade",
            task=tasks.SnapProve,
            output=codec.NumberList,
            keeps_parameters=True,
            default_concurrency=1,
        ),
        Stage(
            name="snap_verify",
            label="SnapVerify",
            about="verify the proof of an upgrade",
            task=tasks.SnapVerify,
            output=bool,
            is_ours=True,
        ),
        Stage(
            name="snap_decode",
            label="Unseal",
            about="get data back out of an upgraded sector",
            task=tasks.SnapDecode,
            output=int,
            is_ours=True,
        ),
        Stage(
            name="transfer",
            label="Transfer",
            about="copy or link files between stores",
            task=tasks.Transfer,
            output=bool,
            needs_proofs=False,
        ),
        Stage(
            name="unseal",
            label="Unseal",
            about="get data back out of a sealed sector",
            task=tasks.Unseal,
            output=int,
        ),
        Stage(
            name="upload",
            label="UploadPiece",
            about="send a file to an HTTP server",
            task=tasks.Upload,
            output=int,
            needs_proofs=False,
            is_ours=True,
        ),
        Stage(
            name="window_post",
            label="WindowPoSt",
            about="prove that sectors are still stored",
            task=tasks.WindowPoSt,
            output=tasks.WindowPoStOutput,
            keeps_parameters=True,
            default_concurrency=1,
        ),
        Stage(
            name="check_replicas",
            label="WindowPoSt",
            about="read of sectors what a window PoSt would, each within a time limit",
            task=tasks.CheckReplicas,
            output=list[tasks.Fault],
            is_ours=True,
        ),
        Stage(
            name="winning_post",
            label="WinningPoSt",
            about="prove that challenged sectors are stored, to win a block",
            task=tasks.WindowPoSt,
            output=tasks.WinningPoStOutput,
            keeps_parameters=True,
            default_concurrency=1,
        ),
        Stage(
            name="verify_window_post",
            label="VerifyPoSt",
            about="verify a window PoSt",
            task=tasks.VerifyWindowPoSt,
            output=bool,
            is_ours=True,
        ),
        Stage(
            name="verify_seal",
            label="VerifySeal",
            about="verify the proof of a sealed sector",
            task=tasks.VerifySeal,
            output=bool,
            is_ours=True,
        ),
        Stage(
            name="aggregate_seals",
            label="Aggregate",
            about="make one proof of those of several sectors",
            task=tasks.AggregateSeals,
            output=bytes,
            is_ours=True,
        ),
    )
}


def named(name: str) -> Stage:
    """Return a stage.

    Raises:
        ValueError: There is none of that name; the message lists those that exist.
    """
    stage = STAGES.get(name)
    if stage is None:
        raise ValueError(f"there is no stage {name!r}: the stages are {', '.join(STAGES)}")
    return stage

"""Verify proofs in a child process: nothing of the proofs library runs in the daemon."""

import contextlib
import re
from collections.abc import AsyncIterator, Hashable
from typing import Any

import msgspec
import structlog

from damocles.manager import errors
from damocles.manager.chain import interface
from damocles.stages import errors as stage_errors
from damocles.stages.supervision import executor
from damocles.wire import tasks
from damocles.wire.sectors import SectorSize

log = structlog.get_logger(__name__)

_LANE = "verifier"
# What the library says of this machine, not of the proof. A verifying key that is there but cannot be read is told in
# the same words as a missing one.
_NO_KEY = re.compile(r"No cached parameters found .*failure finding (?P<base>[^\]]+)\.params\]", re.DOTALL)
_NO_SRS = re.compile(r"No cached srs key found .*failure finding (?P<path>[^\]]+)\]", re.DOTALL)
_PANIC = "Panic"


class StagesVerifier:
    """Verifies one proof at a time; its child starts with the first one and stays."""

    def __init__(self, stages: executor.Stages) -> None:
        self._stages = stages

    async def verify(self, claim: tasks.VerifySeal) -> bool:
        """Return whether a proof is valid.

        Raises:
            interface.Refused: The claim is malformed; the text is the library's.
            errors.Unverifiable: The verifying key is missing, or the child died.
        """
        return await self._verify("verify_seal", claim, claim.registered_proof, "porep")

    async def verify_update(self, claim: tasks.SnapVerify) -> bool:
        """Return whether the proof of an upgrade is valid; raises as `verify`."""
        return await self._verify("snap_verify", claim, claim.registered_proof, "update")

    async def verify_window_post(self, claim: tasks.VerifyWindowPoSt) -> bool:
        """Return whether a window PoSt is valid; raises as `verify`."""
        return await self._verify("verify_window_post", claim, claim.proof_type, "wdpost")

    async def aggregate(self, claim: tasks.AggregateSeals) -> bytes:
        """Return the aggregate of proofs; raises as `verify`."""
        return bytes(await self._run("aggregate_seals", claim, claim.registered_proof, "srs"))

    async def _verify(self, stage: str, claim: msgspec.Struct, proof_name: str, kind: str) -> bool:
        return bool(await self._run(stage, claim, proof_name, kind))

    async def _run(self, stage: str, claim: msgspec.Struct, proof_name: str, kind: str) -> Any:
        try:
            return await self._stages.run(stage, claim, lane=_LANE, on_status=lambda _: None)
        except stage_errors.StageFailed as error:
            if lacking := _NO_KEY.match(error.message):
                raise _lacking(f"{lacking['base']}.vk", proof_name, kind) from error
            if lacking := _NO_SRS.match(error.message):
                raise _lacking(lacking["path"], proof_name, "srs") from error
            if error.message.startswith(_PANIC):
                raise errors.Unverifiable(f"the proof cannot be verified: {error.message}") from error
            raise interface.Refused(f"invalid proof: {error.message}") from error
        except stage_errors.StageError as error:
            raise errors.Unverifiable(f"the proof cannot be verified: {error}") from error


def _lacking(path: str, proof_name: str, kind: str) -> errors.Unverifiable:
    return errors.Unverifiable(
        f"the proof cannot be verified: the manager's machine has no usable {path}; get it"
        f" there with: damocles-worker params fetch --sector-size {_size_label(proof_name)} --for {kind}"
    )


@contextlib.asynccontextmanager
async def open_stages() -> AsyncIterator[StagesVerifier]:
    """Yield a verifier; its child is gone when the block is left."""
    async with executor.Stages(log=_log) as stages:
        yield StagesVerifier(stages)


def _log(lane: Hashable, stage: str, pid: int, line: str, host: str = "") -> None:
    log.info(line, lane=lane, stage=stage, pid=pid, host=host)


def _size_label(proof_name: str) -> str:
    return next((size.label for size in SectorSize if f"{size.label}V" in proof_name), "SIZE")

"""What the library says while it verifies: of the proof, or of the manager's machine."""

from typing import Any

import pytest

from damocles.manager import errors
from damocles.manager.chain import interface, verifiers
from damocles.stages import errors as stage_errors
from damocles.stages.supervision import executor
from damocles.wire import codec, tasks

PROOF = "StackedDrg2KiBV1_2_Feat_NonInteractivePoRep"
CLAIM = tasks.VerifySeal(
    registered_proof=PROOF,
    comm_r=codec.Bytes32(bytes(32)),
    comm_d=codec.Bytes32(bytes(32)),
    prover_id=codec.Bytes32(bytes(32)),
    sector_id=1,
    ticket=codec.Bytes32(bytes(32)),
    seed=codec.Bytes32(bytes(32)),
    proof=codec.NumberList(b"x"),
)


class Failing(executor.Stages):
    """Stages whose child answers with an error."""

    def __init__(self, text: str) -> None:
        self.text = text

    async def run(self, stage: str, task: executor.Task, **_: Any) -> Any:
        """Fail."""
        raise stage_errors.StageFailed(stage, self.text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("No cached parameters found for x-1 [failure finding /p/v28-x-1.params]", "/p/v28-x-1.vk"),
        ("No cached srs key found for x-1 [failure finding /p/v28-fil.srs]", "/p/v28-fil.srs"),
    ],
)
async def test_a_manager_without_the_key_does_not_reject_the_proof(text, told):
    """What this machine lacks is no fault of the proof, and is told with the command that brings it."""
    with pytest.raises(errors.Unverifiable) as caught:
        await verifiers.StagesVerifier(Failing(text)).verify(CLAIM)
    kind = "srs" if told.endswith("srs") else "porep"
    assert f"no usable {told}; get it" in str(caught.value)
    assert str(caught.value).endswith(f"params fetch --sector-size 2KiB --for {kind}")


async def test_what_the_library_says_of_the_proof_rejects_it():
    """A proof that cannot be read is rejected with the library's words."""
    with pytest.raises(interface.Refused) as caught:
        await verifiers.StagesVerifier(Failing("invalid fp")).verify(CLAIM)
    assert "invalid proof: invalid fp" == str(caught.value)

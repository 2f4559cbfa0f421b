"""The configuration of a miner in the form of the original's, for `GetMinerConfig`.

This manager has no such file. What it does all the same is said as its configuration would say it; what it has not, because
its chain is a mock (senders, fees, confidences), is zero or absent. Durations are Go's, an address that is none is
`<empty>`, and amounts are absent.
"""

from typing import Any

from damocles.manager.sectors import ledger
from damocles.text import units

_FEES = {"GasOverEstimation": 0, "GasOverPremium": 0, "GasFeeCap": None, "MaxFeeCap": None}
_SENDER = {"Sender": "<empty>", "Senders": None}
_UNSENT = {**_SENDER, "SendFund": False, **_FEES}


def of(miner: ledger.Miner, *, has_deals: bool, block_seconds: float) -> dict[str, Any]:
    """Return the configuration of a miner of this manager; a message is looked after each `block_seconds`."""
    one_by_one = {"Threshold": 1, "MaxWait": "0s", "CheckInterval": "0s", **_FEES}
    commitment = {**_UNSENT, "Batch": one_by_one}
    block = units.go_duration(block_seconds)
    return {
        "Actor": miner.id,
        "Sector": {
            "InitNumber": 0,
            "MinNumber": None,
            "MaxNumber": miner.max_number,
            "Enabled": True,
            "EnableDeals": has_deals,
            "LifetimeDays": 0,
            "Verbose": False,
        },
        "SnapUp": {
            "Enabled": True,
            **_UNSENT,
            "CleanupCCData": False,
            "MessageConfidential": None,
            "ReleaseCondidential": None,
            "MessageConfidence": 0,
            "ReleaseConfidence": 0,
            "Retry": {
                "MaxAttempts": None,
                "PollInterval": block,
                "APIFailureWait": block,
                "LocalFailureWait": block,
            },
        },
        "Commitment": {"Confidence": 0, "Pre": commitment, "Prove": commitment, "Terminate": commitment},
        "PoSt": {
            **_SENDER,
            "Enabled": True,
            "StrictCheck": False,
            "Parallel": False,
            **_FEES,
            "Confidence": 0,
            "SubmitConfidence": 0,
            "ChallengeConfidence": 0,
            "MaxRecoverSectorLimit": 0,
            "MaxPartitionsPerPoStMessage": 0,
            "MaxPartitionsPerRecoveryMessage": 0,
        },
        "Proof": {"Enabled": False},
        "Sealing": {
            "SealingEpochDuration": 0,
            "RequireActivationSuccess": False,
            "RequireNotificationSuccess": False,
            "RequireActivationSuccessUpdate": False,
            "RequireNotificationSuccessUpdate": False,
            "UseSyntheticPoRep": miner.proof.is_synthetic,
            "SealingSectorDeadlineDelayNi": 0,
        },
    }

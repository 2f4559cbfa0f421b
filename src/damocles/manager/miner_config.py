"""The configuration of a miner in the form of the original's, for `GetMinerConfig`.

That is the miner's table, with the keys that are ours among the others. A manager on a simulated chain has none: what it does all the same is said as a table would say it, and what it has not (senders, fees, confidences) is zero or absent.
Durations are Go's, an address that is none is `<empty>`, amounts are numbers of attoFIL, as the original answers them.
"""

from collections.abc import Sequence
from typing import Any

import pydantic

from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.manager.sectors import ledger
from damocles.text import tables, units

_FEES = {"GasOverEstimation": 0, "GasOverPremium": 0, "GasFeeCap": None, "MaxFeeCap": None}
_SENDER = {"Sender": "<empty>", "Senders": None}
_UNSENT = {**_SENDER, "SendFund": False, **_FEES}


def of_table(table: pydantic.BaseModel) -> dict[str, Any]:
    """Return a table of the configuration."""
    fields = type(table).model_fields
    written = {str(field.alias): _written(getattr(table, name), field.metadata) for name, field in fields.items()}
    return {key: "<empty>" if (key, value) == ("Sender", None) else value for key, value in written.items()}


def _written(value: Any, metadata: Sequence[Any]) -> Any:
    match value:
        case pydantic.BaseModel():
            return of_table(value)
        case Address():
            return str(value)
        case Amount():
            return int(value)
        case tuple():
            return [str(one) for one in value] or None
        case float() if any(isinstance(one, tables.Kind) and one.words == "duration" for one in metadata):
            return units.go_duration(value)
    return value


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

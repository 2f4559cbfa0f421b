"""The methods of actors that a sealing manager calls: number, parameters and return value of each.

    method = methods.of(network_version, methods.PRE_COMMIT)
    message = Message(to=miner, sender=key, method=method.number, params=method.params_of(parameters))

The shapes are the same in actors v18 and v19; a method that came later says so.
"""

from typing import Any, NamedTuple

import msgspec

from damocles.chain import cbor, ownership, sealing, tuples, upkeep, versions
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.bitfields import Bitfield
from damocles.chain.messages import SEND, Message
from damocles.chain.tuples import Int, Uint
from damocles.wire.codec import Blob

POWER_ACTOR = Address.of_id(4)
_OLDEST_ACTORS = 18


class Unavailable(Exception):
    """The actors of this network do not have the method yet."""


class Method(NamedTuple):
    """A method: its number, types of parameters and return value (`None`: none), and the first actors that have it."""

    name: str
    number: int
    params: Any = None
    returns: Any = None
    since: int = _OLDEST_ACTORS

    def params_of(self, value: Any) -> Blob:
        """Return parameters in CBOR, nothing for a method without.

        Raises:
            cbor.Malformed: They are not this method's, or a value does not fit.
        """
        if self.params is None:
            if value is not None:
                raise cbor.Malformed(f"{self.name} takes no parameters")
            return Blob()
        return Blob(tuples.encode(value, self.params))

    def read_params(self, data: bytes) -> Any:
        """Read parameters (inverse of `params_of`); raises the same."""
        return self._read(data, self.params)

    def read_return(self, data: bytes) -> Any:
        """Read the return value of a message that had exit code 0, `None` for a method without.

        Raises:
            cbor.Malformed: It is not this method's.
        """
        return self._read(data, self.returns)

    def _read(self, data: bytes, kind: Any) -> Any:
        if kind is not None:
            return tuples.decode(data, kind)
        if data:
            raise cbor.Malformed(f"{self.name}: {len(data)} bytes where there is nothing to say")
        return None


CHANGE_WORKER = Method("ChangeWorkerAddress", 3, ownership.ChangeWorkerAddress)
CHANGE_PEER_ID = Method("ChangePeerID", 4, ownership.ChangePeerID)
SUBMIT_WINDOW_POST = Method("SubmitWindowedPoSt", 5, sealing.SubmitWindowedPoSt)
TERMINATE = Method("TerminateSectors", 9, upkeep.TerminateSectors, upkeep.TerminateSectorsReturn)
DECLARE_FAULTS = Method("DeclareFaults", 10, upkeep.DeclareFaults)
DECLARE_RECOVERED = Method("DeclareFaultsRecovered", 11, upkeep.DeclareFaultsRecovered)
WITHDRAW = Method("WithdrawBalance", 16, ownership.WithdrawBalance, Amount)
CHANGE_MULTIADDRS = Method("ChangeMultiaddrs", 18, ownership.ChangeMultiaddrs)
COMPACT_PARTITIONS = Method("CompactPartitions", 19, upkeep.CompactPartitions)
COMPACT_NUMBERS = Method("CompactSectorNumbers", 20, upkeep.CompactSectorNumbers)
CONFIRM_WORKER = Method("ConfirmChangeWorkerAddress", 21)
REPAY_DEBT = Method("RepayDebt", 22)
CHANGE_OWNER = Method("ChangeOwnerAddress", 23, Address)
PRE_COMMIT = Method("PreCommitSectorBatch2", 28, sealing.PreCommitSectorBatch2)
CHANGE_BENEFICIARY = Method("ChangeBeneficiary", 30, ownership.ChangeBeneficiary)
EXTEND = Method("ExtendSectorExpiration2", 32, upkeep.ExtendSectorExpiration2)
PROVE_COMMIT = Method("ProveCommitSectors3", 34, sealing.ProveCommitSectors3, sealing.BatchReturn)
PROVE_UPDATES = Method("ProveReplicaUpdates3", 35, sealing.ProveReplicaUpdates3, sealing.BatchReturn)
# go-state-types' table of methods says that it returns nothing; the actor returns what became of the batch.
PROVE_NI = Method("ProveCommitSectorsNI", 36, sealing.ProveCommitSectorsNI, sealing.BatchReturn)
UPGRADE_QUALITY = Method("UpgradeSectorQuality", 37, upkeep.UpgradeSectorQuality, since=19)

# Read-only, asked by a simulated call.
SECTOR_LOCATION = Method(
    "GenerateSectorLocation", 1321604665, upkeep.SectorLocationParams, upkeep.SectorLocation, since=18
)
NOMINAL_EXPIRATION = Method("GetNominalSectorExpiration", 3010055991, Uint, Int)
MAX_TERMINATION_FEE = Method("MaxTerminationFee", 4127382196, upkeep.MaxTerminationFeeParams, Amount)

# To the power actor.
CREATE_MINER = Method("CreateMiner", 2, ownership.CreateMiner, ownership.CreateMinerReturn)

OF_MINER = {
    method.number: method
    for method in (
        CHANGE_WORKER, CHANGE_PEER_ID, SUBMIT_WINDOW_POST, TERMINATE, DECLARE_FAULTS, DECLARE_RECOVERED, WITHDRAW,
        CHANGE_MULTIADDRS, COMPACT_PARTITIONS, COMPACT_NUMBERS, CONFIRM_WORKER, REPAY_DEBT, CHANGE_OWNER, PRE_COMMIT,
        CHANGE_BENEFICIARY, EXTEND, PROVE_COMMIT, PROVE_UPDATES, PROVE_NI, UPGRADE_QUALITY, SECTOR_LOCATION,
        NOMINAL_EXPIRATION, MAX_TERMINATION_FEE,
    )
}  # fmt: skip


def described(message: Message) -> tuple[str, Any]:
    """Return the name of what a message calls, and its parameters as JSON would have them, but sets as `1-3, 10`.

    Who receives it is not looked up: a method that is a miner's by its number and its parameters is taken for it. What
    cannot be read is `method 7`, and the parameters in hexadecimal digits.
    """
    if message.method == SEND:
        return "Send", None
    known = {CREATE_MINER.number: CREATE_MINER} if message.to == POWER_ACTOR else OF_MINER
    method = known.get(message.method)
    if method is not None:
        try:
            return method.name, msgspec.to_builtins(method.read_params(message.params), enc_hook=_shown)
        except cbor.Malformed:
            pass
    return f"method {message.method}", message.params.hex() or None


def _shown(value: Any) -> Any:
    # Lengths of runs would be read as numbers.
    return repr(value)[1:-1] if isinstance(value, Bitfield) else value.to_json()


def of(network_version: int, method: Method) -> Method:
    """Return a method if the actors of a network have it.

    The version of a network says which actors should run there. A network of one's own may run older ones; then a
    method is answered with exit code 22.

    Raises:
        versions.UnknownNetwork: Nothing is known of the network.
        Unavailable: Its actors are too old.
    """
    network = versions.network(network_version)
    if network.actors < method.since:
        raise Unavailable(
            f"{method.name} comes with actors v{method.since}; network {network.version} ({network.name}) has v{network.actors}"
        )
    return method

"""Parameters of what concerns a miner as a whole: its making, keys, money and addresses on the network."""

from msgspec import field

from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.tuples import Int, Tuple
from damocles.wire.codec import Blob, Rows


class CreateMiner(Tuple, frozen=True, kw_only=True):
    """Make a miner (to the power actor, `f04`); its value is the deposit that the chain asks for."""

    owner: Address = field(name="Owner")
    worker: Address = field(name="Worker")
    window_post_proof_type: Int = field(name="WindowPoStProofType")
    peer_id: Blob = field(name="Peer", default=Blob())
    multiaddrs: Rows[Blob] = field(name="Multiaddrs", default=Rows())


class CreateMinerReturn(Tuple, frozen=True):
    """The new miner's number, and the address that survives a reorganisation."""

    id_address: Address = field(name="IDAddress")
    robust_address: Address = field(name="RobustAddress")


class WithdrawBalance(Tuple, frozen=True):
    """Take money out of the miner; the return says how much it was, which may be less without an error."""

    amount: Amount = field(name="AmountRequested")


class ChangeWorkerAddress(Tuple, frozen=True):
    """Replace all control addresses at once, and the worker in 900 epochs, when it is confirmed."""

    new_worker: Address = field(name="NewWorker")
    new_control_addresses: Rows[Address] = field(name="NewControlAddrs", default=Rows())


class ChangeBeneficiary(Tuple, frozen=True):
    """Let another address have what is withdrawn, up to a quota and until an epoch."""

    new_beneficiary: Address = field(name="NewBeneficiary")
    new_quota: Amount = field(name="NewQuota")
    new_expiration: Int = field(name="NewExpiration")


class ChangePeerID(Tuple, frozen=True):
    """The id under which the miner is found on the network, in binary."""

    new_id: Blob = field(name="NewID")


class ChangeMultiaddrs(Tuple, frozen=True):
    """The addresses at which the miner is found on the network, in binary."""

    new_multiaddrs: Rows[Blob] = field(name="NewMultiaddrs")

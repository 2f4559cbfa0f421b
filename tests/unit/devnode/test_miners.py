"""Miners as a whole, and verified data."""

from damocles.chain import tuples
from damocles.chain.addresses import Address
from damocles.chain.amounts import ATTO, Amount
from damocles.chain.bitfields import Bitfield
from damocles.chain.methods import (
    CHANGE_BENEFICIARY,
    CHANGE_MULTIADDRS,
    CHANGE_OWNER,
    CHANGE_PEER_ID,
    CHANGE_WORKER,
    COMPACT_NUMBERS,
    CONFIRM_WORKER,
    CREATE_MINER,
    DECLARE_RECOVERED,
    MAX_TERMINATION_FEE,
    NOMINAL_EXPIRATION,
    PRE_COMMIT,
    WITHDRAW,
)
from damocles.chain.ownership import (
    ChangeBeneficiary,
    ChangeMultiaddrs,
    ChangePeerID,
    ChangeWorkerAddress,
    CreateMiner,
    WithdrawBalance,
)
from damocles.chain.sealing import AllocationKey, BatchReturn, Failure, Piece, PreCommitSectorBatch2
from damocles.chain.upkeep import CompactSectorNumbers, Declaration, DeclareFaultsRecovered, MaxTerminationFeeParams
from damocles.devnode import rules
from damocles.devnode.actors import registry
from damocles.devnode.beginnings import CLIENT, OWNER, VERIFIER, WORKER
from damocles.devnode.state import DATACAP, POWER, REGISTRY, ROOT_ACCOUNT, with_
from damocles.wire import commitments
from damocles.wire.codec import Blob, Rows

from .conftest import MINER

PIECE = commitments.unsealed_cid(bytes([7]) * 32)
ID = Address.of_id


def test_a_miner_is_made_with_its_deposit(world):
    """Without it: 19, and nothing is made."""
    params = CreateMiner(owner=ID(OWNER), worker=ID(WORKER), window_post_proof_type=10, peer_id=Blob(b"\0\1\2"))
    deposit = rules.creation_deposit(2048)
    before = world.state
    outcome = world.send(CREATE_MINER, params, to=POWER, sender=OWNER, value=deposit - 1)
    assert outcome.exit_code == 19
    assert "not enough balance to lock for create miner deposit" in outcome.error
    assert world.state == before
    made = CREATE_MINER.read_return(world.send(CREATE_MINER, params, to=POWER, sender=OWNER, value=deposit).returned)
    miner = world.state.miners[made.id_address.id]
    assert (miner.locked, miner.available, miner.balance) == (deposit, 0, deposit)
    assert world.state.id_of(made.robust_address) == made.id_address.id


def test_workers_and_control_addresses(world):
    """Control addresses change at once, the worker after 900 epochs and a confirmation, which before that does nothing."""
    new = ChangeWorkerAddress(ID(VERIFIER), Rows([ID(CLIENT)]))
    assert world.send(CHANGE_WORKER, new, sender=WORKER).exit_code == 18
    assert world.send(CHANGE_WORKER, ChangeWorkerAddress(ID(999), Rows()), sender=OWNER).exit_code == 16
    assert "must have BLS pubkey" in world.send(CHANGE_WORKER, ChangeWorkerAddress(ID(CLIENT)), sender=OWNER).error
    assert "must be an account" in world.send(CHANGE_WORKER, ChangeWorkerAddress(ID(MINER)), sender=OWNER).error
    assert world.send(CHANGE_WORKER, new, sender=OWNER).exit_code == 0
    assert (world.miner.control, world.miner.new_worker) == ((CLIENT,), VERIFIER)
    assert world.miner.worker_change_epoch == world.epoch + 900
    back = ChangeWorkerAddress(ID(WORKER), Rows([ID(CLIENT)]))
    assert world.send(CHANGE_WORKER, back, sender=OWNER).exit_code == 0
    assert world.miner.new_worker == VERIFIER, "naming the present worker takes nothing back"
    assert world.send(CONFIRM_WORKER, sender=OWNER).exit_code == 0
    assert world.miner.worker == WORKER
    world.epoch += 900
    assert world.send(CONFIRM_WORKER, sender=OWNER).exit_code == 0
    assert (world.miner.worker, world.miner.new_worker, world.miner.worker_change_epoch) == (VERIFIER, None, -1)


def test_withdrawals(world):
    """As much as there is, to the owner; the return says how much that was."""
    before = world.state.balance_of(OWNER)
    have = world.miner.available
    assert world.send(WITHDRAW, WithdrawBalance(Amount(-1)), sender=OWNER).exit_code == 16
    assert world.send(WITHDRAW, WithdrawBalance(Amount(1)), sender=WORKER).exit_code == 18
    outcome = world.send(WITHDRAW, WithdrawBalance(Amount(10**30)), sender=OWNER)
    assert WITHDRAW.read_return(outcome.returned) == have
    assert world.state.balance_of(OWNER) - before == have
    assert world.send(WITHDRAW, WithdrawBalance(Amount(1)), sender=OWNER).returned == b"\x40"


def test_owner_and_beneficiary_change_with_the_word_of_both(world):
    """A proposal, and what the other side says to it; then withdrawals go to the beneficiary, up to the quota."""
    assert world.send(CHANGE_OWNER, ID(CLIENT), sender=OWNER).exit_code == 0
    assert world.miner.pending_owner == CLIENT
    assert world.send(CHANGE_OWNER, ID(CLIENT), sender=VERIFIER).exit_code == 18
    assert world.send(CHANGE_OWNER, ID(CLIENT), sender=CLIENT).exit_code == 0
    assert (world.miner.owner, world.miner.pending_owner, world.miner.beneficiary) == (CLIENT, None, CLIENT)
    term = ChangeBeneficiary(ID(VERIFIER), Amount(5 * ATTO), 10_000)
    assert world.send(CHANGE_BENEFICIARY, term, sender=CLIENT).exit_code == 0
    assert world.miner.beneficiary == CLIENT
    assert world.send(CHANGE_BENEFICIARY, term, sender=VERIFIER).exit_code == 0
    assert (world.miner.beneficiary, world.miner.pending_beneficiary) == (VERIFIER, None)
    before = world.state.balance_of(VERIFIER)
    outcome = world.send(WITHDRAW, WithdrawBalance(Amount(7 * ATTO)), sender=CLIENT)
    assert WITHDRAW.read_return(outcome.returned) == 5 * ATTO == world.state.balance_of(VERIFIER) - before


def test_where_a_miner_is(world):
    """Peer id and addresses are kept in binary."""
    assert world.send(CHANGE_PEER_ID, ChangePeerID(Blob(b"\0$"))).exit_code == 0
    assert world.send(CHANGE_MULTIADDRS, ChangeMultiaddrs(Rows([Blob(b"\4\x7f\0\0\1")]))).exit_code == 0
    assert (world.miner.peer_id, world.miner.multiaddrs) == (b"\0$", (b"\4\x7f\0\0\1",))


def test_numbers_that_are_given_up(world):
    """They are used from then on."""
    assert world.send(COMPACT_NUMBERS, CompactSectorNumbers(Bitfield([5, 6]))).exit_code == 0
    assert 6 in world.miner.allocated


def test_questions_to_a_miner(world):
    """Read-only methods, by a trial."""
    fee = world.send(MAX_TERMINATION_FEE, MaxTerminationFeeParams(Amount(2048), Amount(1000)))
    assert MAX_TERMINATION_FEE.read_return(fee.returned) == 85
    assert world.send(NOMINAL_EXPIRATION, 5000).exit_code == 17
    world.proved(1)
    answer = world.send(NOMINAL_EXPIRATION, 1)
    assert NOMINAL_EXPIRATION.read_return(answer.returned) == world.miner.sectors[1].expiration


def test_datacap_from_the_root_to_an_allocation(world):
    """Each may only what it may, in the recorded words."""

    def gives(method, sender: int, who: int, size: int):
        return world.send(method, registry.Allowance(ID(who), Amount(size)), to=REGISTRY, sender=sender)

    assert gives(registry.ADD_VERIFIER, OWNER, WORKER, 4096).exit_code == 18
    assert "Rootkey cannot be added" in gives(registry.ADD_VERIFIER, ROOT_ACCOUNT, ROOT_ACCOUNT, 4096).error
    assert gives(registry.ADD_VERIFIER, ROOT_ACCOUNT, WORKER, 4096).exit_code == 0
    assert gives(registry.ADD_CLIENT, OWNER, CLIENT, 4096).exit_code == 17
    assert (
        "add more DataCap 8192 for client than allocated 4096" in gives(registry.ADD_CLIENT, WORKER, OWNER, 8192).error
    )
    assert gives(registry.ADD_CLIENT, WORKER, OWNER, 2048).exit_code == 0

    def transfer(amount: int, sender: int = OWNER, to: int = REGISTRY, **other):
        fields = {"provider": MINER, "data": PIECE, "size_bytes": 2048, "term_min": rules.TERM_MIN,
                  "term_max": rules.TERM_MAX, "expiration": world.epoch + 10}  # fmt: skip
        requests = registry.AllocationRequests(Rows([registry.AllocationRequest(**fields | other)]))
        params = registry.Transfer(ID(to), Amount(amount), Blob(tuples.encode(requests)))
        return world.send(registry.TRANSFER, params, to=DATACAP, sender=sender)

    assert "must be a multiple of" in transfer(2048).error
    assert transfer(2048 * ATTO, sender=VERIFIER).exit_code == 19
    assert transfer(2048 * ATTO, to=CLIENT).exit_code == 18
    assert "must match data cap amount received 1024" in transfer(1024 * ATTO).error
    for other, words in (
        ({"term_min": 518399}, "allocation term min 518399 below limit 518400"),
        ({"term_max": 5259486}, "allocation term max 5259486 above limit 5259485"),
        ({"expiration": 99}, "allocation expiration epoch 99 has passed current epoch 100"),
        ({"expiration": 100 + 172801}, "exceeds maximum 172900"),
        ({"size_bytes": 128}, "allocation size 128 below minimum 256"),
        ({"provider": 100}, "allocation provider 100 must be a miner actor"),
    ):
        outcome = transfer(2048 * ATTO, **other)
        assert (outcome.exit_code, words in outcome.error) == (16, True), outcome.error
    outcome = transfer(2048 * ATTO)
    # As recorded, but for the numbers: datacap left, datacap of the registry, [[1, []], [0, []], [1]].
    assert outcome.returned.hex() == "83404a006f05b59d3b20000000498382018082008081" + "01"
    assert world.state.registry.clients[OWNER] == 0


def test_an_expired_allocation_stays_until_it_is_removed(world):
    """By anybody, and the client has its datacap back; the return is as recorded."""
    number = world.allocate(PIECE, expiration=world.epoch + 5)
    remove = registry.RemoveExpired(CLIENT)
    left = world.state.registry.clients[CLIENT]
    world.tick(6)
    assert number in world.state.registry.allocations
    outcome = world.send(registry.REMOVE_EXPIRED, remove, to=REGISTRY, sender=VERIFIER)
    assert outcome.returned.hex() == f"8381{number:02x}82018043000800"
    assert world.state.registry.allocations == {}
    assert world.state.registry.clients[CLIENT] == left + 2048
    outcome = world.send(registry.REMOVE_EXPIRED, registry.RemoveExpired(CLIENT, Rows([77])), to=REGISTRY)
    results = tuples.decode(outcome.returned, registry.RemoveExpiredReturn).results
    assert results == BatchReturn(0, Rows([Failure(0, 17)]))


def test_terms_are_extended_by_the_client_alone(world):
    """Another gets exit code 0 and a failure in the return value."""
    number = world.allocate(PIECE, term_max=rules.TERM_MAX - 10)
    world.proved(1, pieces=Rows([Piece(cid=PIECE, size_bytes=2048, allocation=AllocationKey(CLIENT, number))]))
    terms = registry.ExtendTerms(Rows([registry.ClaimExtension(MINER, number, rules.TERM_MAX)]))
    refused = world.send(registry.EXTEND_TERMS, terms, to=REGISTRY, sender=OWNER)
    assert (refused.exit_code, refused.returned.hex()) == (0, "820081820012")
    assert world.send(registry.EXTEND_TERMS, terms, to=REGISTRY, sender=CLIENT).returned.hex() == "820180"
    assert world.state.registry.claims[number].term_max == rules.TERM_MAX


def test_a_miner_in_debt_promises_and_recovers_nothing(world):
    """Until it has the money, which is taken with the next message; a withdrawal pays first."""
    world.proved(1)
    world.until_open(world.place(1)[0])
    world.tick(world.rules.window_epochs)
    world.send(WITHDRAW, WithdrawBalance(Amount(10**30)), sender=OWNER)
    world.state = with_(world.state, miners={MINER: with_(world.miner, fee_debt=1000)})
    batch = PreCommitSectorBatch2(Rows([world.promise(2)]))
    deadline, partition = world.place(1)
    recover = DeclareFaultsRecovered(Rows([Declaration(deadline, partition, Bitfield([1]))]))
    for method, params in ((PRE_COMMIT, batch), (DECLARE_RECOVERED, recover)):
        outcome = world.send(method, params)
        assert (outcome.exit_code, "can not repay fee debt" in outcome.error) == (19, True)
    burnt = world.state.balance_of(99)
    assert world.send(DECLARE_RECOVERED, recover, value=1000).exit_code == 0
    assert (world.miner.fee_debt, world.state.balance_of(99) - burnt) == (0, 1000)
    world.state = with_(world.state, miners={MINER: with_(world.miner, fee_debt=1000)})
    outcome = world.send(WITHDRAW, WithdrawBalance(Amount(5000)), sender=OWNER, value=3000)
    assert WITHDRAW.read_return(outcome.returned) == 2000
    assert world.miner.fee_debt == 0

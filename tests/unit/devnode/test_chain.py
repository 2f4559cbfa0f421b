"""The chain: tipsets that come, go and come again, the messages in them, and what of it is on the disk."""

import random
from pathlib import Path

import pytest

from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.messages import Message, SignedMessage
from damocles.devnode import beginnings, rules, tipsets, verifying, wallet
from damocles.devnode.chain import Chain
from damocles.devnode.pool import NotTaken
from damocles.devnode.rules import Rules
from damocles.devnode.store import Store, Unusable
from damocles.devnode.tipsets import Forgotten

SECRET = bytes(32)


@pytest.fixture
def chain() -> Chain:
    """Return a chain at its beginning."""
    of = Rules()
    first = tipsets.genesis(beginnings.first_state(SECRET, of), SECRET, of.base_fee, 1_800_000_000)
    return Chain(of, first, SECRET, verifying.accept_any)


@pytest.fixture
def keys() -> wallet.Wallet:
    """Return the keys of the beginning."""
    return wallet.Wallet(beginnings.keys_of(SECRET).values())


def mine(chain: Chain, count: int = 1, *, nulls: int = 0) -> None:
    """Make tipsets."""
    for _ in range(count):
        plan = chain.plan(chain.head.timestamp + 1, nulls=nulls)
        chain.add(chain.executed(plan))


def sent(
    chain: Chain, keys: wallet.Wallet, nonce: int, *, premium: int = rules.PREMIUM, value: int = 1
) -> SignedMessage:
    """Put a message of the owner into the pool."""
    owner = keys.addresses()[0]
    message = Message(
        to=Address.of_id(beginnings.WORKER),
        sender=owner,
        nonce=nonce,
        value=Amount(value),
        gas_limit=1_000_000,
        gas_fee_cap=Amount(premium + 1000),
        gas_premium=Amount(premium),
    )
    signed = keys.sign_message(message)
    chain.pool.check(signed, chain.after_head(chain.head)[0])
    chain.pool.put(signed, chain.head.height)
    return signed


def test_a_message_is_executed_by_the_tipset_after_the_one_that_has_it(chain, keys):
    """Its receipt is there, the state in between is from before, and the money is where it belongs."""
    mine(chain, 2)
    signed = sent(chain, keys, 0, value=7)
    mine(chain)
    assert chain.head.messages == (signed,)
    assert chain.find(signed.message, signed.cid, chain.head, -1) is None
    before = tipsets.state_of(chain.head)
    mine(chain)
    found = chain.find(signed.message, signed.cid, chain.head, -1)
    assert found is not None
    assert (found.tipset, found.outcome.exit_code) == (chain.head, 0)
    after = tipsets.state_of(chain.head)
    assert after.balance_of(beginnings.WORKER) - before.balance_of(beginnings.WORKER) == 7
    outcome = found.outcome
    paid = outcome.base_fee_burn + outcome.overestimation_burn + outcome.tip + 7
    assert before.balance_of(beginnings.OWNER) - after.balance_of(beginnings.OWNER) == paid
    assert chain.find(signed.message, signed.cid, chain.head, 1) is not None
    mine(chain, 2)
    assert chain.find(signed.message, signed.cid, chain.head, 2) is None, "looked for not far enough back"


def test_the_pool(chain, keys):
    """Nonces that are over, the same message again, cheap replacements, and gaps."""
    mine(chain)
    first = sent(chain, keys, 0)
    with pytest.raises(NotTaken, match="message with nonce already exists"):
        sent(chain, keys, 0)
    with pytest.raises(NotTaken, match="increase GasPremium to 125001"):
        sent(chain, keys, 0, premium=120_000)
    with pytest.raises(NotTaken, match="not enough funds"):
        sent(chain, keys, 1, value=10**30)
    second = sent(chain, keys, 0, premium=130_000)
    gap = sent(chain, keys, 2)
    assert chain.pool.next_nonce(first.message.sender, 0) == 1
    mine(chain)
    assert chain.head.messages == (second,)
    with pytest.raises(NotTaken, match="minimum expected nonce is 1, got 0"):
        sent(chain, keys, 0)
    assert chain.pool.all() == [gap]
    sent(chain, keys, 1)
    mine(chain)
    assert [signed.message.nonce for signed in chain.head.messages] == [1, 2]
    found = chain.find(first.message, first.cid, chain.head, -1)
    assert found is not None
    assert found.message == second


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_taken_back_every_message_lands_once(chain, keys, seed):
    """Random messages, tipsets, null rounds and reorganisations; then the nonces say how many have landed."""
    chance = random.Random(seed)
    nonce = 0
    mine(chain, 3)
    for _ in range(60):
        act = chance.choice(("send", "send", "mine", "mine", "mine", "nulls", "back", "head"))
        if act == "send":
            sent(chain, keys, nonce)
            nonce += 1
        elif act == "back":
            before = chain.head
            depth = chance.randint(1, 4)
            if depth < sum(1 for _ in chain.back(before)):
                changes = chain.take_back(depth)
                assert [change.tipset for change in changes] == [
                    one for one, _ in zip(chain.back(before), range(depth), strict=False)
                ]
        elif act == "head":
            old = chain.head
            other = chance.choice([one for one in chain.known.values() if one.height > 2])
            changes = chain.set_head(other)
            ends = [change.tipset for change in changes if change.type == "apply"]
            assert chain.head.key == other.key
            assert not ends or ends[-1] == other
            assert changes == chain.path(old, other)
        else:
            mine(chain, nulls=chance.randint(1, 3) if act == "nulls" else 0)
    mine(chain, 3)
    heights = [one.height for one in chain.back(chain.head)]
    assert heights == sorted(set(heights), reverse=True)
    landed = [signed.message.nonce for one in chain.back(chain.head) for signed in one.messages]
    assert sorted(landed) == list(range(nonce))
    assert tipsets.state_of(chain.head).account(beginnings.OWNER).nonce == nonce
    for height in range(chain.head.height):
        assert chain.at(height, chain.head).height <= height <= chain.after(height, chain.head).height


def test_a_chain_is_on_the_disk_as_it_is(chain, keys, tmp_path: Path):
    """Tipsets with their states, messages that wait, keys, and the head after a reorganisation."""
    store = Store(tmp_path)
    store.keep(chain.first)
    for nonce in range(5):
        signed = sent(chain, keys, nonce)
        store.keep_pool(chain.pool.all())
        made = chain.executed(chain.plan(chain.head.timestamp + 1))
        store.keep(made)
        chain.add(made)
        assert store.pool() == []
        assert signed in made.messages
    chain.take_back(2)
    store.keep_head(chain.head.key)
    store.keep_pool(chain.pool.all())
    store.add_key(wallet.made(SECRET, "another"))
    with pytest.raises(Unusable, match="does another devnode run there"):
        Store(tmp_path)
    store.close()
    again = Store(tmp_path)
    kept = again.tipsets()
    other = Chain(chain.rules, kept[0], SECRET, verifying.accept_any)
    head = again.get("head")
    assert head is not None
    other.restore(kept, type(chain.head.key)(head.decode()))
    assert (other.head, other.known) == (chain.head, chain.known)
    assert again.pool() == chain.pool.all()
    assert again.keys() == [wallet.made(SECRET, "another")]
    assert other.plan(0).height == chain.plan(0).height
    again.close()


def test_what_is_old_is_forgotten(chain):
    """States of more than 900 epochs ago; the tipsets stay as long as randomness is drawn from them."""
    mine(chain, 1100)
    old = chain.at(50, chain.head)
    assert old.height == 50
    with pytest.raises(Forgotten):
        tipsets.state_of(old)
    assert tipsets.state_of(chain.at(1000, chain.head)) is not None
    with pytest.raises(ValueError, match="can be taken back by 1 to 900"):
        chain.take_back(901)


def test_a_devnet_of_other_rules_or_another_version_is_not_taken_up(tmp_path: Path):
    """One line says what differs, or that it cannot be read; a rule that may change changes for good."""
    node, store = beginnings.begin(Rules(), home=tmp_path, secret=SECRET)
    assert store is not None
    store.close()
    with pytest.raises(beginnings.Unsuitable, match="was made with challenge_delay 10, not 5: start it so"):
        beginnings.begin(Rules(challenge_delay=5), home=tmp_path)
    again, store = beginnings.begin(Rules(), home=tmp_path)
    assert store is not None
    assert again.chain.head == node.chain.head
    store.close()
    other, store = beginnings.begin(Rules(challenge_delay=5), home=tmp_path, changeable=["challenge_delay"])
    assert store is not None
    assert (5, other.chain.rules) == (other.rules.challenge_delay, store.rules())
    store.close()
    _, store = beginnings.begin(Rules(), home=tmp_path, changeable=["challenge_delay"])
    assert store is not None
    store._database.execute("UPDATE states SET content = ?", (b'{"accounts":{}}',))
    store.close()
    with pytest.raises(beginnings.Unsuitable, match=r"cannot be read: .* use another folder"):
        beginnings.begin(Rules(), home=tmp_path)


def test_a_message_that_is_held_is_in_no_block_before_its_height(chain, keys):
    """It counts from the push, also for one that takes its place, and what follows it waits with it."""
    mine(chain, 2)
    chain.pool.delay(0, 3)
    sent(chain, keys, 0)
    mine(chain, 2)
    dearer = sent(chain, keys, 0, premium=2 * rules.PREMIUM)
    mine(chain)
    assert chain.pool.all() == [dearer]
    mine(chain)
    assert (chain.head.height, chain.head.messages) == (6, (dearer,))

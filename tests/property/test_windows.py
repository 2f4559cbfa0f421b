"""The mind of window PoSts in a world of dice: null rounds, reorganisations, provers that fail, hang and lie, lost messages.

Simulated: the chain, the provers and the outbox are small models; what is tested is `damocles.manager.proving.mind` alone.
"""

import random
from dataclasses import dataclass, field, replace

import pytest

from damocles.chain.bitfields import Bitfield
from damocles.manager.proving import mind
from damocles.manager.proving.mind import Fate, Stage

WINDOW = mind.Window(miner=1000, deadline=7, challenge=100, opens=120, close=180)
TERMS = mind.Terms(challenge_confidence=10, submit_confidence=4, most_partitions=3, most_sectors=12, retry_epochs=2)
CALM = 150  # the epoch from which on nothing new goes wrong
CONFIDENCE = 5


@dataclass(frozen=True)
class State:
    """The chain at a height: which partitions are proved, and which messages were executed there, well or not."""

    height: int
    salt: int  # of the fork's beacon, by the time of the challenge
    posted: frozenset[int] = frozenset()
    executed: tuple[tuple[int, bool, int], ...] = ()  # message, whether well, epoch


@dataclass
class Message:
    """A message of the outbox."""

    post: int
    salt: int
    partitions: tuple[int, ...]
    is_withdrawn: bool = False
    is_lost: int = 0  # turns until it is pushed again
    is_over: Fate | None = None
    landed_epoch: int | None = None


@dataclass
class World:
    """A run."""

    dice: random.Random
    partitions: int
    sectors: int = 4
    faulty: frozenset[int] = frozenset()
    chain: list[State] = field(default_factory=lambda: [State(95, 0)])
    posts: dict[int, mind.Post] = field(default_factory=dict)
    provers: dict[int, int] = field(default_factory=dict)  # posts that are being proved, turns that are left
    skipped: dict[int, frozenset[int]] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    forks: int = 0

    @property
    def head(self) -> State:
        """The chain at its head."""
        return self.chain[-1]

    @property
    def is_calm(self) -> bool:
        """Whether nothing new goes wrong."""
        return self.head.height >= CALM

    def members(self, number: int) -> Bitfield:
        """Return the sectors of a partition."""
        return Bitfield(range(number * self.sectors, (number + 1) * self.sectors))

    def seen(self) -> mind.Seen:
        """Return what the mind is shown."""
        parts = [
            mind.Partition(members=self.members(number), is_posted=number in self.head.posted)
            for number in range(self.partitions)
        ]
        return mind.Seen(epoch=self.head.height, seed=bytes([self.head.salt]), partitions=parts)

    def advance(self) -> None:
        """Let the chain go on, or back first."""
        if not self.is_calm and self.dice.random() < 0.12 and len(self.chain) > 2:
            depth = min(self.dice.choice((1, 1, 2, 3, 8, 40)), len(self.chain) - 1)
            gone, self.chain = self.chain[-depth:], self.chain[:-depth]
            self.forks += 1
            height = max(gone[-1].height, self.head.height) + 1
        else:
            height = self.head.height + 1 + (self.dice.choice((0, 0, 0, 1, 3)) if not self.is_calm else 0)
        salt = self.head.salt if self.head.height >= WINDOW.challenge else self.forks % 250
        posted, executed = set(self.head.posted), list(self.head.executed)
        known = {index for index, _, _ in executed}
        for index, message in enumerate(self.messages):
            if index in known or message.is_over is Fate.REFUSED or message.is_lost > 0:
                continue
            if message.is_withdrawn or (not self.is_calm and self.dice.random() < 0.5):
                continue
            good = (
                message.salt == salt
                and not posted & set(message.partitions)
                and WINDOW.opens <= height < WINDOW.close
                and (self.is_calm or self.dice.random() > 0.1)  # for want of gas, or whatever it is
            )
            if good:
                posted |= set(message.partitions)
            executed.append((index, good, height))
        self.chain.append(State(height, salt, frozenset(posted), tuple(executed)))
        for message in self.messages:
            message.is_lost = max(0, message.is_lost - 1)

    def fate(self, index: int) -> Fate:
        """Return what has become of a message, by the chain at the head."""
        message = self.messages[index]
        if message.is_over is not None:
            return message.is_over
        for known, good, epoch in self.head.executed:
            if known == index:
                if not good:
                    return Fate.FAILED
                if self.head.height - epoch >= CONFIDENCE:
                    message.is_over, message.landed_epoch = Fate.LANDED, epoch
                    return Fate.LANDED
        return Fate.UNDER_WAY

    def prove(self) -> None:
        """Let the provers bring what they have."""
        for number, left in list(self.provers.items()):
            post = self.posts[number]
            if post.stage is not Stage.PROVING:
                del self.provers[number]
            elif left > 0:
                self.provers[number] = left - 1
            else:
                del self.provers[number]
                if not self.is_calm and self.dice.random() < 0.35:  # they failed, or lied and were found out
                    self.posts[number] = replace(post, gave_up_epoch=self.head.height)
                else:
                    self.skipped[number] = frozenset(post.members) & self.faulty
                    self.posts[number] = replace(post, stage=Stage.PROVED)

    def work(self) -> int:
        """Return how many turns a prover takes: some hang, until another one has the job."""
        return self.dice.choice((0, 1, 2, 9)) if not self.is_calm else 1

    def turn(self) -> None:
        """Look, ask the mind, and do what it says; hold it to what it promises."""
        current = []
        for post in self.posts.values():
            last = [index for index, message in enumerate(self.messages) if message.post == post.id]
            found = self.fate(last[-1]) if last else Fate.NONE
            landed = self.messages[last[-1]].landed_epoch if last else None
            failures = sum(self.fate(index) is Fate.FAILED for index in last)
            current.append(replace(post, fate=found, failures=failures, landed_epoch=landed))
        for act in mind.acts(WINDOW, self.seen(), current, TERMS):
            match act:
                case mind.Drop(post, _):
                    self.posts[post.id] = replace(self.posts[post.id], stage=Stage.DROPPED)
                    for index, message in enumerate(self.messages):
                        if message.post == post.id:
                            message.is_withdrawn = True
                            if self.fate(index) is Fate.UNDER_WAY and not self._is_executed(index):
                                message.is_over = Fate.REFUSED
                case mind.Begin(partitions):
                    assert self.head.height >= WINDOW.challenge + TERMS.challenge_confidence
                    members = Bitfield(n for number in partitions for n in self.members(number))
                    assert members.count <= TERMS.most_sectors
                    assert len(partitions) <= TERMS.most_partitions
                    made = mind.Post(
                        id=len(self.posts),
                        partitions=partitions,
                        seed=bytes([self.head.salt]),
                        members=members,
                        stage=Stage.PROVING,
                    )
                    self.posts[made.id] = made
                    self.provers[made.id] = self.work()
                case mind.Retry(post):
                    self.posts[post.id] = replace(self.posts[post.id], gave_up_epoch=None)
                    self.provers[post.id] = self.work()
                case mind.Send(post):
                    self._send(post)
        self._check()

    def _is_executed(self, index: int) -> bool:
        return any(known == index for known, _, _ in self.head.executed)

    def _send(self, post: mind.Post) -> None:
        assert post.seed == bytes([self.head.salt]), "a proof for an abandoned challenge is sent"
        assert self.posts[post.id].stage in {Stage.PROVED, Stage.SENT}, "what is not proved is sent"
        assert WINDOW.opens + TERMS.submit_confidence <= self.head.height < WINDOW.close
        self.posts[post.id] = replace(self.posts[post.id], stage=Stage.SENT)
        for before in self.messages:
            before.is_withdrawn |= before.post == post.id
        message = Message(post.id, self.head.salt, post.partitions)
        if not self.is_calm:
            message.is_lost = self.dice.choice((0, 0, 2, 6))
            if self.dice.random() < 0.1:
                message.is_over = Fate.REFUSED  # the node's estimate, for whatever reason
        self.messages.append(message)

    def _check(self) -> None:
        alive = [post for post in self.posts.values() if post.stage in mind.ALIVE]
        numbers = [number for post in alive for number in post.partitions]
        assert len(numbers) == len(set(numbers)), "a partition is in two posts"
        open_ones = [
            number
            for index, message in enumerate(self.messages)
            if not message.is_withdrawn and self.fate(index) is Fate.UNDER_WAY
            for number in message.partitions
        ]
        assert len(open_ones) == len(set(open_ones)), "two messages about a partition are under way"

    def run(self) -> None:
        """Live until the window is closed."""
        while self.head.height < WINDOW.close - 1:
            self.advance()
            self.prove()
            self.turn()
            if not self.is_calm and self.dice.random() < 0.1:
                # The manager dies: what it knows is what is recorded, which is all of `posts` and `messages`.
                self.provers = {number: self.work() for number in self.provers}


@pytest.mark.parametrize("block", range(8))
def test_every_partition_is_proved_once_in_time(block: int) -> None:
    """Whatever happens until half of the window is over: at its close each partition is proved by one message."""
    for seed in range(block * 50, block * 50 + 50):
        dice = random.Random(seed)
        world = World(dice, partitions=dice.choice((1, 2, 4, 7)))
        try:
            world.run()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        proved = [n for index, good, _ in world.head.executed if good for n in world.messages[index].partitions]
        assert (seed, list(range(world.partitions))) == (seed, sorted(proved))


def test_a_hundred_partitions_at_once_with_bad_provers() -> None:
    """Simulated: 100 partitions are each proved once, in time, and what is skipped are the damaged sectors by their numbers."""
    dice = random.Random(100)
    damaged = frozenset(dice.sample(range(400), 25))
    world = World(dice, partitions=100, faulty=damaged)
    world.run()
    good = [world.messages[index] for index, well, _ in world.head.executed if well]
    assert list(range(100)) == sorted(n for message in good for n in message.partitions)
    assert damaged == frozenset(n for message in good for n in world.skipped[message.post])


def test_nothing_is_sent_for_a_window_that_is_closed() -> None:
    """At the close, and where the challenge is taken back, all that is left is dropped."""
    post = mind.Post(id=1, partitions=(0,), seed=b"", members=Bitfield([1]), stage=Stage.PROVED)
    part = mind.Partition(members=Bitfield([1]))
    for epoch, why in ((180, mind.CLOSED), (100, "its challenge is taken back")):
        seen = mind.Seen(epoch=epoch, seed=b"", partitions=[part])
        assert [mind.Drop(post, why)] == mind.acts(WINDOW, seen, [post], TERMS)


def test_a_node_that_is_behind_starts_nothing_anew() -> None:
    """What landed at an epoch that the node has not reached is not sent again; from that epoch on it is."""
    post = mind.Post(
        id=1,
        partitions=(0,),
        seed=b"",
        members=Bitfield([1]),
        stage=Stage.SENT,
        fate=Fate.LANDED,
        landed_epoch=140,
    )
    part = mind.Partition(members=Bitfield([1]))
    assert [] == mind.acts(WINDOW, mind.Seen(epoch=139, seed=b"", partitions=[part]), [post], TERMS)
    assert [mind.Send(post)] == mind.acts(WINDOW, mind.Seen(epoch=140, seed=b"", partitions=[part]), [post], TERMS)

"""A devnet whose miner has sectors with power from its beginning: real replicas, of which the chain is told in its first state.

How they came onto a chain is left out: a minute of proofs, which others try. From then on their deadlines have to be proved, and they
win blocks. Afterwards the chain, the devnode's log and the proofs say whether everything came, and once.
"""

import contextlib
import itertools
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import damocles_proofs as native
import msgspec
import pytest

from damocles import proofs
from damocles.chain import methods
from damocles.chain.bitfields import Bitfield
from damocles.chain.blocks import election
from damocles.chain.sealing import SubmitWindowedPoSt
from damocles.devnode import beginnings, rules, state, tipsets
from damocles.devnode.actors import posts, power
from damocles.devnode.actors.activation import entropy_of
from damocles.devnode.rules import FIRST_MINER, Rules
from damocles.devnode.store import Store
from damocles.devnode.tipsets import TipSet
from damocles.manager.db import engine
from damocles.manager.sectors import ledger
from damocles.testing import on_chain
from damocles.testing.chain_farm import ChainFarm
from damocles.testing.farm import PARAMETER_CACHE, wait_until
from damocles.wire import tasks
from damocles.wire.codec import Bytes32
from damocles.wire.sectors import SectorID
from tests.integration.manager.proving.farm import STORE, seal

FIRST_NUMBER = 1000  # workers of the test seal from 1 on
with_ = msgspec.structs.replace


def link_parameters(folder: Path) -> Path:
    """Fill a folder with the parameters of window and winning PoSts, and no others: what is sealed beside stops before its SNARK."""
    folder.mkdir()
    for kind in ("wdpost", "winning"):
        names = native.params_for(kind, 2048)
        for name in (names.params, names.vk, names.meta):
            if not (PARAMETER_CACHE / name).exists():
                pytest.skip(f"{PARAMETER_CACHE} lacks {name}: run `make params`")
            (folder / name).symlink_to(PARAMETER_CACHE / name)
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the chain has: windows that are over and were proved in time, and blocks of the miner."""

    windows: int
    blocks: int


@dataclass
class Proved:
    """A miner of a farm's devnet with one sector in each of some deadlines. `rivals` are as many sectors of another miner, ten times as heavy."""

    farm: ChainFarm
    window_epochs: int
    count: int  # sectors; the first one is in deadline 1, which opens when that of no sector is over
    rivals: int = 0
    comm_rs: dict[int, bytes] = field(default_factory=dict)

    @property
    def rules(self) -> Rules:
        """The rules of the devnet."""
        return Rules(window_epochs=self.window_epochs, challenge_delay=3)

    @property
    def options(self) -> list[str]:
        """What the devnode is started with."""
        return ["--challenge-delay", "3", "--challenge-window", str(self.window_epochs), "--mined", "--log-json"]

    @property
    def places(self) -> Mapping[int, int]:
        """The numbers of the sectors by their deadlines."""
        return {1 + index: FIRST_NUMBER + index for index in range(self.count)}

    # The beginning ----------------------------------------------------------------------------------------------------

    def seal(self) -> None:
        """Seal the sectors into the farm's persist store."""
        for number in self.places.values():
            self.comm_rs[number] = seal(self.farm.base / STORE, number)

    def remember(self, url: str) -> None:
        """Let the managers of a database know where the files are."""

        async def write() -> None:
            async with engine.open_at(url) as database:
                for number in self.comm_rs:
                    sector = SectorID(self.farm.miner, number)
                    await database.write(partial(ledger.place_files, sector=sector, store=STORE, upgrade=False))

        anyio.run(write)

    def begin(self) -> None:
        """Make the devnet; its first epoch begins now."""
        of, secret = self.rules, secrets.token_bytes(32)
        made = beginnings.first_state(secret, of)
        deadlines = {
            deadline: (
                Bitfield([number]),
                {number: on_chain.sector(number, comm_r, expiration=rules.LONGEST_EXTENSION)},
            )
            for (deadline, number), comm_r in zip(self.places.items(), self.comm_rs.values(), strict=True)
        }
        miners = {FIRST_MINER: _with(made.miners[FIRST_MINER], deadlines, cron_active=True)}
        if self.rivals:
            numbers = range(self.rivals)
            heavy = {
                number: on_chain.sector(number, bytes(32), expiration=rules.LONGEST_EXTENSION, verified_bytes=2048)
                for number in numbers
            }
            rival = with_(made.miners[FIRST_MINER], robust=power.robust_address(FIRST_MINER + 1, beginnings.OWNER, 0))
            # Nobody proves these, and nobody closes their deadlines.
            miners[FIRST_MINER + 1] = _with(rival, {0: (Bitfield(numbers), heavy)}, cron_active=False)
        after = with_(made, miners=miners, next_id=made.next_id + 1)
        with contextlib.closing(Store(self.farm.base / "devnet")) as store:
            store.keep(tipsets.genesis(after, secret, of.base_fee, int(time.time())))
            store.put("secret", secret)
            store.put("rules", msgspec.json.encode(of))

    def until_over(self, deadline: int) -> None:
        """Wait until a deadline of the first period is over."""
        closes = (deadline + 1) * self.window_epochs
        wait_until(lambda: self.farm.height >= closes, f"deadline {deadline} is over", 300)

    # What has come of it ----------------------------------------------------------------------------------------------

    def check(self) -> Found:
        """Check the chain, whose devnode must not run, and what its wallet has signed."""
        chain = self.farm.tipsets()
        with contextlib.closing(Store(self.farm.base / "devnet")) as store:
            secret = store.get("secret")
        assert secret is not None
        return Found(windows=self._check_windows(chain, secret), blocks=self._check_blocks(chain))

    def _check_windows(self, chain: list[TipSet], secret: bytes) -> int:
        """Check that no sector was ever faulty, and that each window has one message, in time, with a valid proof of all."""
        for tipset in chain:
            assert tipset.state is not None
            parts = tipset.state.miners[FIRST_MINER].partitions()
            faulty = {number for part in parts for number in part.faulty}
            assert not faulty, (tipset.height, faulty)
        posted: dict[tuple[int, int], list[SubmitWindowedPoSt]] = {}
        for parent, child in itertools.pairwise(chain):
            for signed, outcome in zip(parent.messages, child.outcomes, strict=True):
                number = signed.message.method
                assert number not in {methods.DECLARE_FAULTS.number, methods.DECLARE_RECOVERED.number}
                if number == methods.SUBMIT_WINDOW_POST.number:
                    params = methods.SUBMIT_WINDOW_POST.read_params(bytes(signed.message.params))
                    assert outcome.exit_code == 0, (parent.height, outcome)
                    opens = parent.height - parent.height % self.window_epochs
                    posted.setdefault((opens, params.deadline), []).append(params)
        over = range(self.window_epochs, chain[-1].height - self.window_epochs + 1, self.window_epochs)
        wanted = {(opens, opens // self.window_epochs % 48) for opens in over}
        wanted = {(opens, deadline) for opens, deadline in wanted if deadline in self.places}
        assert wanted <= posted.keys(), (chain[-1].height, sorted(wanted - posted.keys()))
        for (opens, deadline), some in posted.items():
            assert [[0]] == [[part.index for part in one.partitions] for one in some], (opens, some)
            assert self._is_valid(opens, self.places[deadline], some[0], secret), (opens, deadline)
        return len(wanted)

    def _is_valid(self, opens: int, number: int, post: SubmitWindowedPoSt, secret: bytes) -> bool:
        """Return whether a post that the chain has believed holds, of the sector and without an exception."""
        challenge = opens - self.rules.challenge_lookback
        entry = tipsets.beacon_entry(secret, challenge)
        claim = tasks.VerifyWindowPoSt(
            miner_id=FIRST_MINER,
            proof_type=on_chain.PROOF.window_name,
            replicas=[tasks.PublicReplica(number, Bytes32(self.comm_rs[number]))],
            seed=Bytes32(election.drawn(entry, posts.WINDOW, challenge, entropy_of(FIRST_MINER))),
            proof=bytes(post.proofs[0].proof),
        )
        return not any(part.skipped for part in post.partitions) and proofs.verify_window_post(claim)

    def _check_blocks(self, chain: list[TipSet]) -> int:
        """Check that of no two blocks that were signed both have a height, or parents; nor one leaves out its miner's own before."""
        signed = [one for one in self._devnode_log() if one["event"] == "block signed"]
        by_height = {int(one["height"]): one["cid"] for one in signed}
        by_parents = {tuple(one["parents"]): one["cid"] for one in signed}
        assert {one["cid"] for one in signed} == set(by_height.values()) == set(by_parents.values())
        heights = {str(tipset.key): tipset.height for tipset in chain}
        for one in signed:
            base = heights.get(one["parents"][0])
            assert base is None or by_height.get(base) in {None, *one["parents"]}, one
        return sum(tipset.header is not None for tipset in chain)

    def _devnode_log(self) -> list[dict[str, Any]]:
        lines = (self.farm.base / "devnode.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


def _with(
    miner: state.Miner, deadlines: Mapping[int, tuple[Bitfield, dict[int, state.Sector]]], *, cron_active: bool
) -> state.Miner:
    """Return a miner with the sectors of some deadlines."""
    places, sectors = list(miner.deadlines), dict[int, state.Sector]()
    for index, (numbers, some) in deadlines.items():
        places[index] = state.Deadline((state.Partition(all=numbers, live=numbers),))
        sectors |= some
    return with_(miner, sectors=sectors, deadlines=tuple(places), cron_active=cron_active)

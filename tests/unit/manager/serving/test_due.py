"""What the manager's metrics say is due."""

import dataclasses
import functools
from pathlib import Path

import msgspec
import pytest

from damocles.chain.addresses import Address
from damocles.cli.access import authority
from damocles.manager.alerts import posts as alerts_posts
from damocles.manager.db import engine
from damocles.manager.outbox import orders
from damocles.manager.proving import day, posts
from damocles.manager.sectors import deals
from damocles.manager.serving import due, due_on_chain
from damocles.rpc import tls
from damocles.wire import wdpost
from damocles.wire.proving import Standing

OUTLINE = alerts_posts.Outline(
    id="1", state=wdpost.State.FINISHED, deadline=0, partitions=[0], worker="w", finished_at=2, created_at=1
)


def window(deadline: int, opens: int, *seen: posts.Seen) -> day.Kept:
    """Return a window of sixty epochs, of which nothing is proved by us."""
    made = posts.Window(
        miner=1000,
        deadline=deadline,
        challenge=opens - 20,
        opens=opens,
        close=opens + 60,
        epoch=opens,
        partitions=list(seen),
    )
    return day.Kept(made, [], {})


def samples(what: due.Due, now: float = 100.0) -> dict[str, float]:
    """Return what Prometheus gets."""
    return {
        " ".join([sample.name.removeprefix("damocles_manager_"), *sample.labels.values()]): sample.value
        for family in due.families(what, now)
        for sample in family.samples
    }


def test_the_deadline_that_closes_next_counts_of_those_that_lack_a_proof() -> None:
    """Not one that is proved, that is closed, or that has nothing to prove; in seconds of the chain's epochs."""
    windows = {
        0: window(0, 0, posts.Seen(members=1, faulty=2, recovering=1)),
        1: window(1, 60, posts.Seen(members=1, is_posted=True)),
        2: window(2, 120, posts.Seen(members=0, faulty=1)),
        3: window(3, 180, posts.Seen(members=1)),
        4: window(4, 240, posts.Seen(members=1)),
    }
    found = due_on_chain.of_miner(windows, 100, 30.0)
    assert 140 * 30.0 == found.closes_seconds
    assert (3, 1) == (found.faulty, found.recovering)
    expected = {Standing.MISSED: 1, Standing.PROVED: 1, Standing.NOTHING: 1, Standing.AHEAD: 2}
    assert expected == found.standings
    told = samples(due.Due(chain=due.OnChain(miners={"1000": found})))
    assert 1 == told["deadlines 1000 missed"]
    assert 4200.0 == told["deadline_closes_seconds 1000"]
    none = {"1000": due_on_chain.of_miner({}, 1, 30.0)}
    assert "deadline_closes_seconds 1000" not in samples(due.Due(chain=due.OnChain(miners=none)))


def test_jobs_are_counted_by_what_came_of_them() -> None:
    """Also those there are none of; sectors that could not be proved are those of the last job that says so."""
    with_ = msgspec.structs.replace
    jobs = [
        with_(OUTLINE, id="1", output=wdpost.Output(proofs=None, faults=[1, 2, 3])),
        with_(OUTLINE, id="2", output=wdpost.Output(proofs=None, faults=[1, 2])),
        with_(OUTLINE, id="3", error="no such file"),
        with_(OUTLINE, id="4", state=wdpost.State.RUNNING),
    ]
    told = samples(due.Due(jobs=jobs))
    assert {"ready": 0, "running": 1, "proved": 2, "failed": 1} == {
        state: told[f"wdpost_jobs {state}"] for state in ("ready", "running", "proved", "failed")
    }
    assert 2 == told["wdpost_unproved_sectors"]


async def test_messages_deals_and_the_certificate_are_looked_up(tmp_path: Path) -> None:
    """Of the open messages how many there are and since when, what no sector has, and when the certificate ends."""
    authority.ca(directory=tmp_path / "ca", host=["gpu1"])
    files = tls.Files(tmp_path / "ca" / "gpu1.pem", tmp_path / "ca" / "gpu1.key")
    folder = tmp_path / "deals"
    folder.mkdir()
    piece = "baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq"
    folder.joinpath(deals.FILE_NAME).write_text(
        f'[{{"PieceCID": "{piece}", "PieceSize": 1024, "PayloadSize": 1000, "DealID": 7}}]'
    )
    async with engine.open_sqlite(tmp_path / "m.db") as database:
        source = due.Source(
            database=database, market=deals.Deals(folder), jobs=lambda: [OUTLINE], days=None, certificate=files
        )
        wish = orders.Wish(miner=1000, kind="pre-commit", to=Address.of_id(1000), method=28, params=b"")
        for at in (70.0, 40.0):
            await database.write(functools.partial(orders.put, wish=wish, at=at))
        counts, oldest = await database.read(due_on_chain.messages)
        looked = dataclasses.replace(await source.look(), chain=due.OnChain(messages=counts, oldest_message=oldest))
        told = samples(looked)
        folder.joinpath(deals.FILE_NAME).write_text("[")
        unread = samples(await source.look())
    assert (2, 60.0) == (told["messages 1000 wanted"], told["messages_oldest_seconds 1000"])
    assert (1, 1024) == (told["deals_waiting"], told["deals_waiting_bytes"])
    assert 1 == told["wdpost_jobs proved"]
    assert told["certificate_not_after_timestamp_seconds"] > 1_700_000_000
    assert "deals_waiting" not in unread


@pytest.mark.parametrize("text", ["", "no certificate"])
def test_a_certificate_that_cannot_be_read_ends_at_no_time(tmp_path: Path, text: str) -> None:
    """There is no sample then, and all others are there."""
    file = tmp_path / "some.pem"
    file.write_text(text)
    assert None is tls.ends_at(file)
    assert None is tls.ends_at(tmp_path / "none.pem")
    assert "certificate_not_after_timestamp_seconds" not in samples(due.Due())

"""What `status` shows: values in, lines out."""

import msgspec

from damocles.cli.overview import glance, story
from damocles.wire import alerts, control, fleet, proving

NOW = 1_790_000_000.0


def thread(
    worker: str, index: int, doing: str, state: str = "C1Done", error: str | None = None
) -> control.ThreadDetail:
    """Make a thread; one that is idle has no sector."""
    sector = None if doing == "Idle" else f"s-t010000-{index}"
    info = fleet.ThreadInfo("/store", "sealer", sector, index, fleet.ThreadState(doing, 5), state, "C2", error)
    return control.ThreadDetail(info=info, worker=worker, since=NOW - 5)


def alert(number: int, severity: str = "warning", **more: object) -> alerts.Alert:
    """Make an alert that fires."""
    made = alerts.Alert(
        id=number,
        rule="rule",
        subject="w1",
        severity=severity,
        state=alerts.FIRING,
        text="so it is",
        since=NOW - number,
    )
    return msgspec.structs.replace(made, **more)


def test_paused_threads_are_told_by_their_reasons():
    """The reason that most have first; threads are counted by what they do, sectors by their states."""
    found = glance.threads(
        [
            *(thread("w1", index, "Paused", error="permanent: no parameters") for index in range(4)),
            thread("w2", 0, "Paused", error="permanent: no space"),
            thread("w2", 1, "Running", "PC1Done"),
            thread("w2", 2, "Idle", "Empty"),
        ],
        NOW,
    )
    assert ({"Paused": 5, "Running": 1, "Idle": 1}, {"C1Done": 5, "PC1Done": 1}) == (found.doing, found.states)
    assert [
        "paused    w1 #0, w1 #1, w1 #2 and 1 more: permanent: no parameters",
        "paused    w2 #0: permanent: no space",
    ] == list(glance.lines_of_paused(found))
    assert [
        ("threads", "7: 5 paused, 1 running, 1 idle"),
        ("sectors", "in progress: 5 C1Done, 1 PC1Done"),
    ] == list(glance.facts_of_threads(found))


def test_urgent_alerts_are_those_nobody_cares_for():
    """Critical ones first, then the oldest; acknowledged, muted, pending and resolved ones are left out."""
    found = [
        alert(1),
        alert(2, "critical"),
        alert(3),
        alert(4, acknowledged_at=NOW),
        alert(5, muted_until=NOW + 5),
        alert(6, state=alerts.PENDING),
        alert(7, state=alerts.RESOLVED),
    ]
    assert [2, 3, 1] == [one.id for one in glance.urgent(found)]
    assert "critical  #2 rule w1, for 2s: so it is" == next(glance.lines_of_alerts(glance.urgent(found), NOW))


def test_what_needs_a_person_comes_first_and_lines_fit():
    """Without anything to do there are the facts alone; whatever is in a line, it is one and fits."""
    assert ["workers   0"] == list(glance.screen([("workers", "0")], [], 80))
    text = list(glance.screen([("workers", "2: " + "x" * 90)], ["paused\nfor long\x1b[31m" + "y" * 90], 40))
    assert ["needs a person:", ""] == [text[0], text[2]]
    assert max(map(len, text)) <= 40
    assert "\x1b" not in "".join(text)


def test_states_beyond_the_first_are_summed():
    """Nobody reads twenty states in a line."""
    assert "9 a, 8 b, 7 c, 6 d, 5 e, 4 f, 3 g, 2 h, 3 in other states" == glance.counted(
        {**dict(zip("abcdefgh", range(9, 1, -1), strict=True)), "i": 2, "j": 1}
    )


def test_a_story_says_where_the_sector_is():
    """Its thread with what it waits for, and where its files are."""
    told = story.Story(
        sector="s-t010000-1",
        threads=[thread("w1", 1, "Paused", error="permanent: no space")],
        places=[story.Place("normal", "persist-1")],
    )
    assert [
        ("Sector", "s-t010000-1"),
        ("Thread", "w1 #1 /store, Paused for 5s in C1Done, stage C2: permanent: no space"),
        ("Files", "normal in persist-1"),
    ] == list(story.facts(told, NOW))


def test_the_chain_is_a_line():
    """The node with its height, and of each miner how long its next deadline lasts, or when it begins; what is wrong stands last."""
    first = proving.MinerSeen(miner=1000, window=proving.Window(deadline=3, opens=90, close=150))
    ahead = proving.MinerSeen(miner=1001, window=proving.Window(deadline=7, opens=340, close=400))
    nothing = proving.MinerSeen(miner=1002, window=None)
    seen = proving.ChainSeen(
        node="http://n1:1234/rpc/v1", epoch=100, at=0, block_seconds=30.0, miners=[first, ahead, nothing]
    )
    assert (
        "height 100 at http://n1:1234/rpc/v1; f01000: deadline 3 is open, closes in 25m; f01001: deadline 7 opens in 2h;"
        " f01002: no sectors to prove"
    ) == glance.chain(seen)
    away = msgspec.structs.replace(seen, node="", epoch=0, miners=[], problem="n1 is away")
    assert "n1 is away" == glance.chain(away)

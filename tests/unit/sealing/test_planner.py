"""The planner, as a dialogue: what happens, what a thread has to do."""

import msgspec
import pytest

from damocles.sealing import events, failures, planner
from damocles.sealing.plans import sealer
from damocles.sealing.sectors import Sector
from damocles.sealing.states import State
from damocles.wire import codec, seal, sectors, tasks, wdpost

LIMITS = planner.Limits()
NOW = 1_000_000.0
ALLOCATED = seal.AllocatedSector(sectors.SectorID(10000, 1), 5)
TICKET = seal.Ticket(bytes(32), 1)
PC2OUT = tasks.PC2Output("StackedDrg2KiBV1_1", codec.Bytes32(bytes(32)), codec.Bytes32(bytes(32)))
PIECES = [tasks.PieceInfo(codec.Bytes32(bytes(32)), 2032)]

HAPPY = [
    events.Allocate(ALLOCATED),
    events.AcquireDeals(None),
    events.AddPiece(PIECES),
    events.BuildTreeD(),
    events.AssignTicket(resubmit_pre_commit=False),
    events.PC1(TICKET, msgspec.Raw(b"{}")),
    events.PC2(PC2OUT),
    events.SubmitPC(),
    events.CheckPC(),
    events.Persist("store"),
    events.SubmitPersistance(),
    events.AssignSeed(seal.Seed(bytes(32), 2)),
    events.C1(msgspec.Raw(b"{}")),
    events.C2(codec.NumberList(b"proof")),
    events.SubmitProof(),
    events.Finish(),
]
EVERYTHING = frozenset({"staged", "tree_d", "layers", "sealed", "tree_r_last", "proof_source"})


def feed(sector: Sector, *happenings: events.Event) -> tuple[Sector, tuple[planner.Instruction, ...]]:
    """Step through several events and return the last answer."""
    todo: tuple[planner.Instruction, ...] = ()
    for event in happenings:
        sector, todo = planner.step(sector, event, LIMITS, NOW)
    return sector, todo


def at(state: State) -> Sector:
    """Return a sector that came to `state` by the straight way."""
    sector = Sector(plan="sealer")
    for event in HAPPY:
        if sector.state is state:
            break
        sector, _ = planner.step(sector, event, LIMITS, NOW)
    assert state == sector.state
    return sector


def test_straight_way_visits_the_states_in_the_original_order():
    """A sector without trouble goes through the states of the original's graph, and is then finalized."""
    sector, todo = feed(Sector(plan="sealer"), *HAPPY)
    assert sector.path == (
        State.Allocated,
        State.DealsAcquired,
        State.PieceAdded,
        State.TreeDBuilt,
        State.TicketAssigned,
        State.PC1Done,
        State.PC2Done,
        State.PCSubmitted,
        State.PCLanded,
        State.Persisted,
        State.PersistanceSubmitted,
        State.SeedAssigned,
        State.C1Done,
        State.C2Done,
        State.ProofSubmitted,
        State.Finished,
    )
    assert todo == (planner.Report(State.ProofSubmitted, State.Finished, "Finish"), planner.Finalize())


def test_synthetic_proofs_take_one_more_state():
    """A synthetic proof type goes from PC1Done to PC2Done by way of SyntheticPoRepNeeded."""
    sector, todo = feed(at(State.PC1Done), events.PC2NeedSyntheticProof(PC2OUT))
    assert (State.SyntheticPoRepNeeded, planner.Execute("synth_proof")) == (sector.state, todo[-1])
    sector, _ = feed(sector, events.SyntheticPoRep())
    assert sector.state == State.PC2Done
    assert PC2OUT == sector.pc2out


def test_temporary_failures_are_retried_with_growing_waits_and_then_pause():
    """Five retries wait 60, 120, 240, 480 and 600 seconds; the sixth failure pauses as permanent."""
    sector = at(State.PC2Done)
    waits = []
    for _ in range(5):
        sector, todo = feed(sector, events.Failed("Temporary", "connection refused"))
        assert isinstance(todo[-1], planner.Wait)
        waits.append(todo[-1].seconds)
        sector, todo = feed(sector, events.Wake())
        assert todo == (planner.Execute("submit_pre_commit"),)
    assert waits == [60, 120, 240, 480, 600]
    sector, todo = feed(sector, events.Failed("Temporary", "connection refused"))
    assert planner.Hold() == todo[-1]
    assert sector.last_error == "permanent: connection refused"
    assert NOW == sector.paused_at


def test_a_manager_that_is_away_uses_up_no_retries():
    """However long it is away, the same step is tried again, after 10 minutes in the end; then the budget is whole."""
    sector, delays = at(State.PC2Done), []
    for _ in range(2000):
        sector, (*_, todo) = feed(sector, events.Failed("Temporary", "connection refused", away=True))
        assert isinstance(todo, planner.Wait)
        assert (0, todo.seconds) == (sector.retries, (sector.retry_at or 0) - NOW)
        delays.append(todo.seconds)
    assert [60, 120, 240, 480, 600, 600] == delays[:6]
    assert 600 == delays[-1]
    assert "temporary: connection refused" == sector.last_error


def test_a_blip_after_a_long_step_is_over_soon():
    """What failed before in the same state, and was mended, does not make the next wait longer."""
    sector = at(State.PCLanded)
    for _ in range(9):
        sector, _ = feed(sector, events.Failed("Temporary", "connection refused", away=True), events.Wake())
        sector, _ = feed(sector, events.Later(30, "the seed's epoch"))
    sector, (*_, todo) = feed(sector, events.Failed("Temporary", "connection refused", away=True))
    assert (10, 60) == (sector.attempt - 1, getattr(todo, "seconds", None))


def test_a_success_gives_the_retry_budget_back():
    """Retries are counted per state, so a long sector is not worn out by blips far apart."""
    sector, _ = feed(at(State.PC2Done), events.Failed("Temporary", "x"), events.Wake())
    assert sector.retries == 1
    sector, _ = feed(sector, events.SubmitPC())
    assert (0, 1) == (sector.retries, sector.attempt)


@pytest.mark.parametrize("level", [failures.Level.PERMANENT, failures.Level.CRITICAL])
def test_permanent_and_critical_failures_pause_and_keep_the_sector(level):
    """The thread pauses with the error, the manager hears of it, and nothing of the sector changes."""
    before = at(State.C1Done)
    sector, todo = feed(before, events.Failed(level.value, "No cached parameters found"))
    assert sector.last_error == f"{level.value.lower()}: No cached parameters found"
    assert (before.state, before.c1out, before.path) == (sector.state, sector.c1out, sector.path)
    report = planner.Report(State.C1Done, State.C1Done, "Failed", (level.value, "No cached parameters found"))
    assert todo == (report, planner.Hold())


def test_abort_gives_the_sector_up_and_tells_the_manager():
    """An abort moves to Aborted and discards with the reason; the thread then rests and starts afresh."""
    sector, todo = feed(at(State.PC2Done), events.Failed("Abort", "rejected: bad ticket"))
    assert sector.state == State.Aborted
    assert planner.Discard("rejected: bad ticket", tell_manager=True) == todo[-1]
    sector, todo = feed(sector, events.Discarded())
    assert Sector(plan="sealer") == sector
    assert isinstance(todo[-1], planner.Wait)
    _, todo = feed(sector, events.Wake())
    assert todo == (planner.Execute("allocate_sector"),)


def test_an_abort_interrupted_by_a_restart_goes_on():
    """A worker that restarts with an aborted sector still tells the manager and clears the store."""
    sector, _ = feed(at(State.PC2Done), events.Failed("Abort", "rejected"))
    _, todo = feed(sector, events.Restart())
    assert todo == (planner.Discard("rejected", tell_manager=True),)


def test_a_sector_withdrawn_by_the_manager_is_discarded_without_reporting_back():
    """When the manager says the sector is finalized, only the files are moved away."""
    sector, todo = feed(at(State.PC1Done), events.Withdrawn("operator"))
    assert sector.state == State.Aborted
    assert todo == (planner.Discard("operator", tell_manager=False),)


def test_pause_keeps_the_result_and_survives_a_restart():
    """A pause comes after the finished stage's event, and a restarted worker stays paused."""
    sector, todo = feed(at(State.C1Done), events.C2(codec.NumberList(b"p")), events.Pause())
    assert (State.C2Done, b"p", (planner.Hold(),)) == (sector.state, sector.proof, todo)
    sector, todo = feed(sector, events.Restart())
    assert todo == (planner.Hold(),)
    sector, todo = feed(sector, events.Resume())
    assert todo == (planner.Execute("submit_proof"),)


def test_a_restart_waits_out_the_rest_of_a_back_off():
    """The time of the next try is kept over a restart."""
    sector, _ = feed(at(State.PC2Done), events.Failed("Temporary", "x"))
    _, todo = planner.step(sector, events.Restart(), LIMITS, NOW + 20)
    assert todo == (planner.Wait(40.0, "another try (temporary: x)"),)


def test_polling_comes_again_without_a_trace():
    """`Later` waits and runs the same handler again."""
    sector = at(State.PCSubmitted)
    after, todo = feed(sector, events.Later(180, "the pre-commit on chain"))
    assert (sector, (planner.Wait(180, "the pre-commit on chain"),)) == (after, todo)
    _, todo = feed(after, events.Wake())
    assert todo == (planner.Execute("poll_pre_commit"),)


def test_failures_far_apart_do_not_add_up_while_a_state_lasts():
    """An answer between two failures gives the retry budget back and takes the old error away."""
    sector = at(State.PCSubmitted)
    for _ in range(LIMITS.max_retries + 2):
        sector, todo = feed(sector, events.Failed("Temporary", "connection refused"))
        assert isinstance(todo[-1], planner.Wait)
        sector, _ = feed(sector, events.Wake(), events.Later(180, "the pre-commit on chain"))
        assert (0, None, None) == (sector.retries, sector.retry_at, sector.last_error)


def test_a_failed_message_is_submitted_again_after_a_pause():
    """ReSubmitPC goes back to PC2Done, waits 30 seconds and replaces the old pre-commit."""
    sector, todo = feed(at(State.PCSubmitted), events.ReSubmitPC(why="out of gas"))
    assert (State.PC2Done, True) == (sector.state, sector.resubmit_pre_commit)
    assert planner.Wait(30.0, "before submitting again (out of gas)") == todo[-1]
    sector, _ = feed(sector, events.Wake(), events.SubmitPC())
    assert (State.PCSubmitted, False) == (sector.state, sector.resubmit_pre_commit)


def test_an_idle_thread_asks_thrice_and_then_rests():
    """Three empty answers wait `recover_interval`, the next one `seal_interval`."""
    sector, waits = Sector(plan="sealer"), []
    for _ in range(5):
        sector, todo = feed(sector, events.Idle())
        assert isinstance(todo[-1], planner.Wait)
        waits.append(todo[-1].seconds)
    assert waits == [60, 60, 60, 30, 60]


def test_waiting_for_deals_gives_the_retry_budget_back():
    """That there are no deals is an answer: failures before it are over, however long the sector waits."""
    sector = at(State.Allocated)
    for _ in range(LIMITS.max_retries + 2):
        sector, todo = feed(sector, events.Failed("Temporary", "connection refused"))
        assert isinstance(todo[-1], planner.Wait)
        sector, _ = feed(sector, events.Wake(), events.Idle("deals (disable_cc)"))
        assert (0, None, None) == (sector.retries, sector.retry_at, sector.last_error)


def test_a_thread_without_a_pause_between_sectors_does_not_ask_without_end():
    """With a `seal_interval` of nothing it rests for as long as between its questions before."""
    limits = planner.Limits(seal_interval_seconds=0.0, recover_interval_seconds=7.0)
    sector = Sector(plan="sealer")
    for _ in range(8):
        sector, (wait,) = planner.step(sector, events.Idle(), limits, NOW)
        assert isinstance(wait, planner.Wait)
        assert 7.0 == wait.seconds


def test_an_idle_thread_says_what_it_waits_for():
    """The handler knows what the manager has not."""
    _, todo = feed(Sector(plan="sealer"), events.Idle("deals (disable_cc)"))
    assert planner.Wait(60.0, "deals (disable_cc)") == todo[-1]


def test_after_a_window_post_the_next_one_is_asked_for_at_once():
    """Other plans rest for `seal_interval`; a deadline has many jobs and little time. A job given up is a reason to rest."""
    post = wdpost.Job("job-1", wdpost.Input([], 10000, "StackedDrgWindow2KiBV1_2", codec.Bytes32(bytes(32))))
    generated = events.Generate(wdpost.Output([b"p"], []))
    sector, todo = feed(Sector(plan="wdpost"), events.AllocatePost(post), generated, events.Finish())
    assert planner.Finalize() == todo[-1]
    assert "job-1" == sector.job_id
    sector, todo = feed(sector, events.Finalized())
    assert (None, planner.Wait(0.0, "the next sector (seal_interval)")) == (sector.job_id, todo[-1])
    _, todo = feed(Sector(plan="wdpost"), events.AllocatePost(post), events.Withdrawn("removed"), events.Discarded())
    assert planner.Wait(LIMITS.seal_interval_seconds, "the next sector (seal_interval)") == todo[-1]


def test_a_window_post_that_the_manager_took_back_is_dropped_without_a_word():
    """The manager knows; giving it up by hand is told."""
    post = wdpost.Job("job-1", wdpost.Input([], 10000, "StackedDrgWindow2KiBV1_2", codec.Bytes32(bytes(32))))
    sector, _ = feed(Sector(plan="wdpost"), events.AllocatePost(post))
    assert planner.Discard("removed", tell_manager=False) == feed(sector, events.Withdrawn("removed"))[1][-1]
    assert planner.Discard("no time", tell_manager=True) == feed(sector, events.Abort("no time"))[1][-1]


def test_a_proven_sector_is_not_given_up():
    """Somebody who gives up a sector that is Finished comes too late: paused or not, only its end is left."""
    finished = at(State.Finished)
    assert (finished, (planner.Finalize(),)) == feed(finished, events.Abort("mistaken"))
    paused, _ = feed(finished, events.Failed("Critical", "disk"))
    assert (paused, (planner.Hold(),)) == feed(paused, events.Abort("mistaken"))


def test_an_unknown_event_tells_the_story():
    """An event that the table does not know is a defect, and its message says how the sector came here."""
    with pytest.raises(planner.UnexpectedEvent, match=r"no event C2 in state DealsAcquired.*Allocated → DealsAcquired"):
        feed(at(State.DealsAcquired), events.C2(codec.NumberList(b"")))


def test_every_edge_leads_to_a_state_of_the_plan():
    """The table is closed: each target has a step of its own."""
    assert {target for _, _, target in sealer.PLAN.edges()} <= set(sealer.PLAN.steps)


# resume --state


@pytest.mark.parametrize(
    ("here", "target", "refusal"),
    [
        (State.C1Done, "NoSuchState", "NoSuchState is not a state of plan sealer"),
        (State.C1Done, "Unsealed", "Unsealed is not a state of plan sealer"),
        (State.C1Done, "pc1done", 'pc1done is not a state of plan sealer; did you mean "PC1Done"?'),
        (State.C1Done, "Finished", "a sector becomes Finished by its proof alone"),
        (State.C1Done, "Empty", "it would allocate another sector over s-t010000-1; abort this one first (Aborted)"),
        (State.C1Done, "C2Done", "s-t010000-1 has not reached C2Done yet"),
        (State.C1Done, "TreeDBuilt", "s-t010000-1 is past PCLanded: the chain holds what follows from TreeDBuilt"),
        (State.C1Done, "PC1Done", None),
        (State.C1Done, "TicketAssigned", None),
        (State.C1Done, "C1Done", None),
        (State.C1Done, "Aborted", None),
        (State.ProofSubmitted, "Aborted", None),
        (
            State.Finished,
            "Aborted",
            "s-t010000-1 is finished, which cannot be undone: resume without a state to end it",
        ),
        (State.PC2Done, "TreeDBuilt", None),
        (State.Empty, "PC1Done", "the thread holds no sector"),
    ],
)
def test_a_target_is_checked_against_the_plan_and_the_sector(here, target, refusal):
    """Only states that the sector has reached and that still make sense can be resumed at."""
    assert refusal == sealer.PLAN.refusal(at(here), target, EVERYTHING)


def test_a_target_is_checked_against_the_files():
    """PC2 cannot be repeated without the layers of PC1; what is possible then is listed."""
    sector, at_hand = at(State.C1Done), frozenset({"staged", "tree_d", "sealed", "tree_r_last"})
    assert sealer.PLAN.refusal(sector, "PC1Done", at_hand) == "s-t010000-1 lacks the file(s) of layers"
    assert State.PC1Done not in sealer.PLAN.targets(sector, at_hand)
    assert State.C1Done in sealer.PLAN.targets(sector, at_hand)


def test_a_step_back_forgets_what_came_after_it():
    """After going back for a fresh ticket, the old C1 output cannot be jumped to; the chain's facts stay known."""
    sector, todo = feed(at(State.PCSubmitted), events.Pause(), events.Resume(State.TreeDBuilt))
    assert planner.Execute("assign_ticket") == todo[-1]
    assert "has not reached PC2Done" in (sealer.PLAN.refusal(sector, "PC2Done", EVERYTHING) or "")
    assert State.PCSubmitted in sector.visited

"""Whatever comes in whatever order: nothing is granted twice, and nobody waits for ever."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from damocles.stages.admission import grants

NAMES = ("cores", "memory", "gpus")
LONGEST = 4  # ticks that a task runs

capacities = st.fixed_dictionaries(
    {"cores": st.integers(1, 8), "memory": st.integers(1, 16), "gpus": st.integers(0, 2)}
)
needs = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 18))
tasks = st.tuples(needs, st.integers(1, LONGEST))


@dataclass
class Farm:
    """A machine that runs tasks for some ticks each; time goes on tick by tick."""

    capacity: dict[str, int]
    queue: list[grants.Request] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)  # of those that run
    granted: list[grants.Request] = field(default_factory=list)
    lasts: dict[int, int] = field(default_factory=dict)
    now: int = 0

    def add(self, task: tuple[dict[str, int], int]) -> grants.Request:
        """Let a task queue up."""
        amounts, lasts = task
        request = grants.Request(number=len(self.lasts), label=f"task {len(self.lasts)}", needs=amounts)
        self.lasts[request.number] = lasts
        self.queue.append(request)
        return request

    def tick(self) -> list[grants.Decision]:
        """End what is over, and admit whom the rules let in."""
        self.now += 1
        self.granted = [one for one in self.granted if self.ends[one.number] > self.now]
        decisions = grants.admit(self.capacity, self.granted, self.queue)
        for decision in decisions:
            if decision.starts:
                self.granted.append(decision.request)
                self.ends[decision.request.number] = self.now + self.lasts[decision.request.number]
        self.queue = [decision.request for decision in decisions if not decision.starts]
        return decisions

    def fits(self, request: grants.Request) -> bool:
        """Whether the empty machine has what a request needs."""
        return all(amount <= self.capacity.get(name, 0) for name, amount in request.needs.items())


@given(capacities, st.lists(st.lists(tasks, max_size=4), max_size=12))
def test_no_schedule_exceeds_any_resource(capacity, arrivals):
    """At no time more is granted than there is; who does not start hears why, and who never can hears that."""
    farm = Farm(capacity)
    for coming in arrivals:
        for task in coming:
            farm.add(task)
        for decision in farm.tick():
            assert decision.starts == (decision.why == "")
            assert decision.never == (not farm.fits(decision.request))
        for name in NAMES:
            assert sum(one.needs.get(name, 0) for one in farm.granted) <= capacity[name]


@settings(max_examples=200)
@given(capacities, st.lists(tasks, min_size=1, max_size=6), st.lists(tasks, min_size=1, max_size=5))
def test_nobody_waits_for_ever_while_others_keep_coming(capacity, first, others):
    """What fits an empty machine starts before all that came earlier could have run one after the other."""
    farm = Farm(capacity)
    waiting = [farm.add(task) for task in first]
    hopeful = {request.number for request in waiting if farm.fits(request)}
    bound = (len(first) + 1) * (LONGEST + 1)
    for tick in range(bound):
        for task in (others[tick % len(others)], others[(tick * 3 + 1) % len(others)]):
            farm.add(task)  # more than the machine can do
        farm.tick()
    assert hopeful <= farm.ends.keys()


@given(capacities, st.lists(tasks, min_size=1, max_size=8))
def test_the_oldest_that_fits_goes_first_on_an_empty_machine(capacity, coming):
    """So somebody always works while anybody can."""
    farm = Farm(capacity)
    requests = [farm.add(task) for task in coming]
    farm.tick()
    able = [request for request in requests if farm.fits(request)]
    assert not able or able[0] in farm.granted


@given(capacities, needs)
def test_what_is_clamped_fits(capacity, wanted):
    """Of what there is too little, all is taken, and of the rest what is needed."""
    taken = grants.clamped(capacity, wanted)
    assert grants.never_fits(capacity, taken) is None
    if grants.never_fits(capacity, wanted) is None:
        assert taken == wanted

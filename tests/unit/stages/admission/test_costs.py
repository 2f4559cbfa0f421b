"""The table of costs, and what is granted of it."""

import pytest

from damocles.sealing import planner
from damocles.stages import descriptors
from damocles.stages.admission import costs, policy
from damocles.wire import sectors
from damocles.worker.config.processors import GROUP_STAGES

SIZES = tuple(sectors.SectorSize)
GIB = 1 << 30


def test_every_stage_of_a_worker_has_a_cost():
    """A stage that is added without one would be started whatever the machine has."""
    assert set(costs.STAGES) == set(GROUP_STAGES)


@pytest.mark.parametrize("stage", costs.STAGES)
def test_costs_are_sane(stage):
    """They grow with the sector, each says where it is from, and 2KiB fits the machines that tests run on."""
    facts = [costs.of(stage, size) for size in SIZES]
    memory = [fact.memory_bytes for fact in facts]
    assert sorted(memory) == memory
    assert {fact.source for fact in facts} <= {"measured", "structure", "lotus", "assumed"}
    assert memory[0] <= 2 * GIB
    assert stage == descriptors.named(stage).name


def test_disk_of_each_plan():
    """All layers, the data with its trees, the replica: each plan has its room, in the order of what it does."""
    of = {plan: costs.disk_bytes(plan, sectors.SectorSize.GIB32) / (32 * GIB) for plan in planner.PLANS}
    assert {"sealer": 16.2, "niporep": 16.2, "snapup": 5.2, "rebuild": 18.4, "unseal": 13.0, "wdpost": 0.0} == (
        pytest.approx(of)
    )


def test_all_cores_leaves_a_small_stage_its_place():
    """A stage that takes what there is takes no more than most of it, and at least one."""
    assert {"memory": 5, "cores": 57} == costs.Cost(memory_bytes=5, cores=None).needs(64)
    assert {"cores": 1} == costs.Cost(cores=None).needs(1)
    assert {"cores": 2} == costs.Cost(cores=4).needs(2)


def test_what_counts():
    """Memory alone, or everything; of a machine that tells nothing, nothing."""
    size = sectors.SectorSize.GIB32
    capacity = {"memory": 512 * GIB, "cores": 64, "gpus": 1}
    careful = policy.Policy(capacity=capacity)
    assert {"memory": 56 * GIB} == careful.needs("pc1", size)
    assert {"memory": 56 * GIB, "cores": 4} == policy.Policy(capacity=capacity, counts=policy.EVERYTHING).needs(
        "pc1", size
    )
    assert {} == policy.Policy(capacity={}).needs("pc1", size)
    assert {} == careful.needs("pc1", None)


def test_programs_of_others_cost_what_is_said():
    """Nobody knows what they do, and where; until the configuration says so."""
    size = sectors.SectorSize.GIB32
    said = {("c2", size): costs.Override(memory_bytes=7)}
    assert {} == policy.Policy(capacity={"memory": 512 * GIB}, foreign={"c2"}).needs("c2", size)
    assert {"memory": 7} == policy.Policy(capacity={"memory": 512 * GIB}, foreign={"c2"}, overrides=said).needs(
        "c2", size
    )


def test_what_never_fits():
    """By default it takes all that there is; where it is to be refused its needs stay what they are."""
    size = sectors.SectorSize.GIB32
    small = {"memory": 32 * GIB}
    assert {"memory": 32 * GIB} == policy.Policy(capacity=small).needs("pc1", size)
    strict = policy.Policy(capacity=small, refuses=True)
    assert {"memory": 56 * GIB} == strict.needs("pc1", size)
    assert "needs 56GiB of memory, this machine has 32GiB" == strict.unfit("pc1", size)
    assert strict.unfit("c1", size) is None

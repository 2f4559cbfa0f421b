"""What somebody reads whose stage does not start."""

from damocles.stages.admission import grants

GIB = 1 << 30


def request(number: int, label: str, **needs: int) -> grants.Request:
    """Return a request; memory in GiB."""
    if "memory" in needs:
        needs["memory"] *= GIB
    return grants.Request(number=number, label=label, needs=needs)


CAPACITY = {"memory": 70 * GIB, "cores": 8, "gpus": 1}
PC2 = request(1, "PC2 of s-t01000-7", memory=30)


def why(queue: list[grants.Request], granted: list[grants.Request]) -> list[str]:
    """Return why each of a queue does not start."""
    return [decision.why for decision in grants.admit(CAPACITY, granted, queue)]


def test_what_is_missing_and_who_has_it():
    """One line: what it needs, what is free, and whose end to wait for."""
    line = "memory (needs 64GiB, 40GiB free; PC2 of s-t01000-7 holds 30GiB)"
    assert [line] == why([request(2, "PC1", memory=64)], [PC2])
    assert ["gpus (needs 1, 0 free; C2 of a holds 1)"] == why(
        [request(2, "C2 of b", gpus=1)], [request(1, "C2 of a", gpus=1)]
    )


def test_many_holders_are_counted():
    """The largest are named."""
    holders = [request(n, f"C1 of {n}", memory=n) for n in (1, 2, 3, 40)]
    line = "memory (needs 64GiB, 24GiB free; C1 of 40 holds 40GiB, C1 of 3 holds 3GiB, 2 more the rest)"
    assert [line] == why([request(50, "PC1", memory=64)], holders)


def test_a_small_one_does_not_go_ahead_of_a_large_one_that_it_would_keep_waiting():
    """It is told who is next; what leaves the large one its place goes ahead."""
    large = request(2, "PC1 of s-t01000-8", memory=64)
    queue = [large, request(3, "PC2", memory=7), request(4, "C1", memory=6, cores=1)]
    assert ["memory (PC1 of s-t01000-8 is next, and needs 64GiB)", ""] == why(queue, [PC2])[1:]


def test_what_never_fits_keeps_nobody_waiting():
    """It is told so, and the others go on."""
    decisions = grants.admit(CAPACITY, [], [request(1, "PC1", memory=112), PC2])
    assert [(False, True), (True, False)] == [(one.starts, one.never) for one in decisions]
    assert "needs 112GiB of memory, this machine has 70GiB" == decisions[0].why

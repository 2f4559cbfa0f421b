"""Sets of sector numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damocles.chain.bitfields import Bitfield

small = st.sets(st.integers(0, 200))
spread = st.sets(st.integers(0, 2**64 - 2), max_size=20)


@pytest.mark.parametrize(
    ("numbers", "runs", "raw"),
    [
        (set(), [0], ""),
        ({0}, [0, 1], "0c"),
        ({5}, [5, 1], None),
        ({0, 1, 2, 5}, [0, 3, 2, 1], "7494"),
        ({1, 2, 3, 10}, [1, 3, 6, 1], None),
        (set(range(10)), [0, 10], "5401"),
        ({100, 101}, [100, 2], "804c01"),
        ({2**63}, [2**63, 1], "0010101010101010103020"),
    ],
)
def test_a_set_is_spelled_as_go_bitfield_spells_it(numbers, runs, raw):
    """Runs in JSON, RLE+ in CBOR."""
    assert runs == Bitfield(numbers).runs()
    assert raw is None or raw == Bitfield(numbers).to_cbor().hex()


@given(st.one_of(small, spread))
def test_a_set_survives(numbers):
    """Runs and RLE+ both give back the numbers, in ascending order."""
    field = Bitfield(numbers)

    assert sorted(numbers) == list(field)
    assert field == Bitfield.from_runs(field.runs()) == Bitfield.from_cbor(field.to_cbor())
    assert (len(numbers), bool(numbers)) == (field.count, bool(field))


@given(small, small)
def test_sets_are_combined_as_sets_are(left, right):
    """Union, difference, intersection, membership and equality are those of Python's sets."""
    one, two = Bitfield(left), Bitfield(right)

    assert list(one | two) == sorted(left | right)
    assert list(one - two) == sorted(left - right)
    assert list(one & two) == sorted(left & right)
    assert [number in one for number in range(201)] == [number in left for number in range(201)]
    assert (one == two) == (left == right)
    assert one != two or hash(one) == hash(two)


@given(st.binary(max_size=24))
def test_bytes_that_are_read_are_the_only_spelling(raw):
    """Whatever bytes are no canonical RLE+ are refused; the others are written again as they were."""
    try:
        field = Bitfield.from_cbor(raw)
    except ValueError:
        return
    assert raw == field.to_cbor()


@pytest.mark.parametrize(
    "raw",
    [
        "00",  # a byte that is not needed
        "0c00",
        "01",  # another version
        "08",  # only a run of what is out: {} has no bytes
        "00ffffffffffffffffff0f",  # a run beyond 2^64
        "1400",  # a run of one as a block of four bits
        None,
    ],
)
def test_a_second_spelling_is_refused(raw):
    """Actors refuse what is not minimal, and the whole message with it."""
    with pytest.raises(ValueError, match="RLE"):
        Bitfield.from_cbor(raw and bytes.fromhex(raw))


@pytest.mark.parametrize(("runs", "numbers"), [(None, []), ([], []), ([0], []), ([3], []), ([1, 2, 3], [1, 2])])
def test_runs_are_read_as_go_bitfield_reads_them(runs, numbers):
    """Null and no runs are the empty set, and a last run of what is out says nothing."""
    assert numbers == list(Bitfield.from_json(runs))


@pytest.mark.parametrize("runs", [[0, 0], [1, 1, 0, 1], [-1, 2], [1.0], ["0"], [True], [2**64, 1], [1, 2**64], {}, "x"])
def test_runs_that_go_bitfield_refuses_are_refused(runs):
    """An empty run but for the first, what is no whole number, and what is beyond 2^64."""
    with pytest.raises(ValueError, match=r".+"):
        Bitfield.from_json(runs)


def test_a_set_that_is_huge_takes_no_room():
    """A peer may name 2^63 numbers with three."""
    field = Bitfield.from_json([10, 2**63])

    assert 2**63 == field.count
    assert list(field - Bitfield.from_runs([12, 2**63])) == [10, 11]
    assert repr(field) == f"{{10-{2**63 + 9}}}"


def test_a_set_with_too_many_runs_is_refused():
    """Actors take 32 KiB; the refusal says that fewer at once would do."""
    with pytest.raises(ValueError, match="name fewer"):
        Bitfield(range(0, 400_000, 2)).to_cbor()

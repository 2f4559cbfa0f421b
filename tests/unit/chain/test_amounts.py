"""Amounts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damocles.chain.amounts import ATTO, Amount

numbers = st.integers(-(2**900), 2**900)


@given(numbers)
def test_a_number_survives(number):
    """CBOR and JSON both give back what was written."""
    assert Amount.from_cbor(Amount(number).to_cbor()) == number
    assert Amount.from_json(Amount(number).to_json()) == number


@given(st.integers(-(10**77), 10**77))
def test_what_people_read_can_be_written_again(number):
    """An amount in FIL is exact."""
    assert number == Amount.parse(str(Amount(number)))


@pytest.mark.parametrize(
    ("number", "raw"), [(0, ""), (1, "0001"), (-1, "0101"), (256, "000100"), (15 * 10**17, "0014d1120d7b160000")]
)
def test_bytes_are_those_of_the_chain(number, raw):
    """A sign and the number without zeros in front; nothing for zero."""
    assert raw == Amount(number).to_cbor().hex()


@pytest.mark.parametrize("raw", ["00", "01", "0000", "000001", "0201", "00" + "ff" * 128])
def test_a_second_spelling_of_a_number_is_refused(raw):
    """A zero with a sign, zeros in front, another sign, and more bytes than actors read."""
    with pytest.raises(ValueError, match="only spelling"):
        Amount.from_cbor(bytes.fromhex(raw))


@pytest.mark.parametrize("value", [7, None, "", "0x10", "1e18", "+7", "1.0", " 1", "\u0661"])
def test_json_is_decimal_text(value):
    """Numbers, null and other notations are refused."""
    with pytest.raises(ValueError, match="as text"):
        Amount.from_json(value)


def test_a_number_that_was_never_set_is_zero():
    """Go writes `<nil>`, and CBOR has it as zero."""
    assert Amount.from_json("<nil>") == 0


@pytest.mark.parametrize(
    ("text", "atto"),
    [
        ("1", ATTO),
        ("1.5 FIL", 15 * 10**17),
        ("100 nanofil", 10**11),
        ("5attoFIL", 5),
        ("0.000000000000000001", 1),
        ("-2", -2 * ATTO),
    ],
)
def test_people_may_write_units(text, atto):
    """Without a unit it is FIL."""
    assert atto == Amount.parse(text)


@pytest.mark.parametrize("text", ["", "FIL", "1 ETH", "1,5", "1e3", "0.5 attoFIL", "0.0000000000000000001"])
def test_what_is_no_amount_is_refused(text):
    """No rounding happens."""
    with pytest.raises(ValueError, match="FIL"):
        Amount.parse(text)


@pytest.mark.parametrize(
    ("atto", "shown"),
    [
        (0, "0 FIL"),
        (ATTO, "1 FIL"),
        (1, "0.000000000000000001 FIL"),
        (-15 * 10**17, "-1.5 FIL"),
        (100 * ATTO, "100 FIL"),
    ],
)
def test_people_see_fil(atto, shown):
    """All digits that count, and no others."""
    assert shown == f"{Amount(atto)}"

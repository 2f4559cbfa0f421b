"""Canonical CBOR and CIDs."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from damocles.chain import cbor, cids
from damocles.wire import commitments

leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**64), 2**64 - 1), st.binary(max_size=80), st.text(max_size=10)
)
trees = st.recursive(leaves, lambda inner: st.lists(inner, max_size=5), max_leaves=20)


@given(trees)
def test_a_tree_survives(tree):
    """What is written is read."""
    assert tree == cbor.decode(cbor.encode(tree))


@given(st.binary(max_size=40))
def test_bytes_that_are_read_are_the_only_spelling(data):
    """Whatever bytes are not canonical are refused; the others are written again as they were."""
    try:
        tree = cbor.decode(data)
    except cbor.Malformed:
        return
    assert data == cbor.encode(tree)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ("", "nothing"),
        ("1801", "a number in two bytes that needs one"),
        ("980101", "a length in two bytes that needs one"),
        ("9f01ff", "an array without a length"),
        ("5f4101ff", "bytes without a length"),
        ("8101ff", "bytes after the end"),
        ("a10102", "a map"),
        ("f93c00", "a float"),
        ("f7", "undefined"),
        ("e0", "a simple value"),
        ("c249010000000000000000", "a bignum"),
        ("c000", "a date"),
        ("d81c81d81d00", "a list that contains itself"),
        ("d9010281810101", "a set"),
        ("d82a01", "a link that is no bytes"),
        ("9bffffffffffffffff", "more items than there is memory"),
        ("5bffffffffffffffff", "more bytes than there is memory"),
        ("81" * 1000, "a thousand arrays in each other"),
        ("821b0000000000000001", "a cut"),
        ("61ff", "text that is no UTF-8"),
    ],
)
def test_what_actors_do_not_write_is_refused(data, what):
    """One error, whatever it is."""
    with pytest.raises(cbor.Malformed):
        cbor.decode(bytes.fromhex(data))


@pytest.mark.parametrize("tree", [1.5, {}, 2**64, -(2**64) - 1, cbor2.CBORTag(2, b"1"), object(), [[b"", {1}]]])
def test_what_actors_do_not_read_is_not_written(tree):
    """In the depth of a tree as well."""
    with pytest.raises(cbor.Malformed):
        cbor.encode(tree)


@pytest.mark.parametrize("tree", [bytes((2 << 20) + 1), [0] * 8193])
def test_what_is_too_large_for_an_actor_is_not_written(tree):
    """The limits are those of go-state-types' encoder."""
    with pytest.raises(cbor.Malformed, match="actors take"):
        cbor.encode(tree)


@given(st.binary(min_size=32, max_size=32))
def test_a_cid_survives(digest):
    """Those of objects and those of commitments, as text and as bytes."""
    for cid in (cids.of_object(digest), commitments.sealed_cid(digest), commitments.unsealed_cid(digest)):
        assert cid == cids.from_bytes(cids.to_bytes(cid))


@pytest.mark.parametrize(
    "text",
    ["", "b", "bafy", "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPbdG", "zb2rhe5P4gXftAwvA4eXQ5HJwsER2owDyS9sKaQRRVQPn93bA",
     "BAFY2BZACEDAI5MKLLADI2GP4X46E27GLECQBD3C4WQTHCBXDX7R7EUZNCEDAG",
     "bafy2bzacedai5mklladi2gp4x46e27glecqbd3c4wqthcbxdx7r7euzncedah",
     "bafy2bzacedai5mklladi2gp4x46e27glecqbd3c4wqthcbxdx7r7euznceda", "bü", "b" + "a" * 1000],
)  # fmt: skip
def test_what_is_no_cid_is_refused(text):
    """Other versions, other alphabets, capitals, a cut, and bits after the last byte."""
    with pytest.raises(ValueError, match="is not a CID"):
        cids.to_bytes(text)

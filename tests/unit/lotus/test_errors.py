"""What Lotus' errors mean."""

import pytest
from tests.golden.chain import recordings

from damocles.lotus import errors
from damocles.rpc import errors as rpc

URL = "http://node:1234/rpc/v1"

# Kind of each recorded error, by what its text has.
KINDS = {
    "missing permission": errors.Forbidden,
    "not due at any deadline": errors.NotThere,
    "failed to find sector": errors.NotThere,
    "can't find sector": errors.NotThere,
    "invalid deadline": errors.NotThere,
    "actor not found": errors.NotThere,
    "failed to find actor": errors.NotThere,
    "actor code is not": errors.NotThere,
    "not found on chain": errors.NotThere,
    "address not found": errors.NotThere,
    "failed to load tipset": errors.NoTipSet,
    "from the future": errors.NotYet,
    "greater than start point": errors.NotYet,
    "failed to load message": errors.Unseen,
    "exit=[": errors.WouldFail,
    "already exists": errors.Pending,
    "nonce too low": errors.NonceUsed,
    "too low GasPremium": errors.Outbid,
    "'GasLimit' field": errors.TooCheap,
    "gas fee cap too low": errors.TooCheap,
    "signature verification failed": errors.NotTaken,
    "beacon entry request returned error": errors.NotYet,
    "wrong param count": errors.NoNode,
    "unmarshaling params": errors.NoNode,
    "' not found": errors.NoNode,
    "not supported in this mode": errors.NoNode,
}
# Refused without a kind of its own: nothing else is to be done than to read it.
PLAIN = {
    "is negative",
    "zero length array",
    "must greater than 0",
    "failed to resolve ID address",
    "expects message nonce to be 0",
    "confidence exceeds maximum",
    "malformed token",
    "invalid network version",
}


def recorded() -> list[tuple[str, rpc.RpcError]]:
    """Return the recorded errors with their methods."""
    return [
        (row["request"]["method"].removeprefix("Filecoin."), rpc.RpcError(error["code"], error["message"]))
        for row in recordings.rows("exchanges")
        if (error := row["answer"].get("error"))
    ]


@pytest.mark.parametrize(("method", "error"), recorded(), ids=lambda value: value if isinstance(value, str) else None)
def test_every_recorded_error_has_its_meaning(method, error):
    """The kind says what to do, and the text is Lotus'."""
    kinds = [kind for words, kind in KINDS.items() if words in error.message]
    plain = [words for words in PLAIN if words in error.message]

    found = errors.of(error, URL, method)

    assert len(kinds) + len(plain) == 1, error.message
    assert type(found) is (kinds[0] if kinds else errors.Refused)
    assert error.message.partition("\n")[0] in str(found)
    assert URL in str(found)


def test_a_message_that_would_fail_has_the_exit_code_of_the_actor():
    """Also where it is wrapped into the failure of an estimate."""
    text = "message execution failed (exit=[ErrIllegalArgument(16)], vm error=[… (16)\n (RetCode=16)])"

    found = errors.of(rpc.RpcError(3, text), URL, "GasEstimateMessageGas")

    assert isinstance(found, errors.WouldFail)
    assert found.exit_code == 16


@pytest.mark.parametrize(
    "text",
    [
        "message execution failed (exit=[ErrForbidden(18)], vm error=[too early to prove sector (18)])",
        "message execution failed (exit=[ErrIllegalArgument(16)], vm error=[chain commit epoch 268 must be less than the current epoch 268 (16)])",
    ],
)
def test_what_only_comes_too_early_is_not_taken_for_a_failure(text):
    """It is to be tried again with the next head."""
    found = errors.of(rpc.RpcError(1, text), URL, "MpoolPush")

    assert isinstance(found, errors.NotYet)
    assert found.exit_code in {16, 18}


def test_a_replacement_that_pays_too_little_says_how_much_it_has_to_pay():
    """The number is in the text of the node."""
    found = [errors.of(error, URL, method) for method, error in recorded() if "GasPremium" in error.message]

    assert [getattr(error, "premium", None) for error in found] == [110937]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (rpc.Unreachable(URL, "refused"), errors.Away),
        (rpc.Disconnected(URL, "reset"), errors.Away),
        (rpc.TimedOut(URL, 1), errors.TooSlow),
        (rpc.BadAnswer(URL, "HTTP 502", "", 502), errors.Away),
        (rpc.BadAnswer(URL, "HTTP 401 with an empty body", "", 401), errors.BadToken),
        (rpc.BadAnswer(URL, "HTTP 200", ", '<html>'", 200), errors.NoNode),
        (rpc.BadAnswer(URL, "no HTTP"), errors.NoNode),
        (rpc.Untrusted(URL, "self-signed certificate"), errors.NoNode),
    ],
)
def test_what_is_no_answer_has_its_meaning_too(error, kind):
    """Away may be repeated; the others need a person."""
    assert type(errors.of(error, URL, "Version")) is kind

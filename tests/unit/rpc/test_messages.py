"""What clients make of answers, and of the operating system's refusals."""

import ast
import subprocess
import sys

import pytest

from damocles.rpc import errors, messages
from damocles.wire.sectors import SectorID


def read(body: bytes, returns: object = None, status: int = 200) -> object:
    """Decode an answer."""
    return messages.decode_answer(body, returns, url="http://h/", method="X.Y", status=status)


def test_calls_are_written_as_the_original_worker_writes_them() -> None:
    """Members come in the order of the worker of v0.13, parameters as an array."""
    call = messages.encode_call(3, "Venus.AssignTicket", [SectorID(10000, 2)])

    expected = b'{"jsonrpc":"2.0","method":"Venus.AssignTicket","params":[{"Miner":10000,"Number":2}],"id":3}'
    assert expected == call


def test_results_are_decoded() -> None:
    """A result becomes what the caller expects; without an expectation it is dropped."""
    body = b'{"jsonrpc":"2.0","result":{"Miner":10000,"Number":2},"id":1}\n'

    assert SectorID(10000, 2) == read(body, SectorID)
    assert read(body) is None


def test_a_missing_result_is_null() -> None:
    """Go leaves `result` out for methods that return only an error."""
    assert read(b'{"jsonrpc":"2.0","id":1}', SectorID | None) is None


@pytest.mark.parametrize("status", [200, 500])
def test_errors_are_raised_whatever_the_http_status(status: int) -> None:
    """The error in the body counts, with code, message and data; `meta` and other members do not disturb."""
    body = b'{"jsonrpc":"2.0","id":1,"error":{"code":11001,"message":"not found","data":5,"meta":{}}}'

    with pytest.raises(errors.RpcError, match=r"^not found$") as caught:
        read(body, status=status)

    assert (11001, 5) == (caught.value.code, caught.value.data)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "HTTP 500 with an empty body"),
        (b"404 page not found\n", "HTTP 500, '404 page not found'"),
        (b'{"status":"OK"}', "HTTP 500"),
        (b"<html>" + b"x" * 9000, "…"),
        (b'{"jsonrpc":"2.0","id":1,"result":"x"}', "result of X.Y: Expected `object`, got `str`"),
        (b'{"jsonrpc":"2.0","id":1}', "result of X.Y: Expected `object`, got `null`"),
        (b"[" * 100_000, "HTTP 500"),
    ],
)
def test_other_bodies_are_bad_answers(body: bytes, said: str) -> None:
    """What is no answer, or another result, is shown in short with the address."""
    with pytest.raises(errors.BadAnswer) as caught:
        read(body, SectorID, status=500)

    assert said in str(caught.value)
    assert "http://h/" in str(caught.value)
    assert len(str(caught.value)) < 400


def test_reasons_are_dug_out() -> None:
    """The text of the operating system is found behind a library's exceptions."""
    outer = RuntimeError("All attempts failed")
    outer.__cause__ = ConnectionRefusedError(111, "Connect call failed")

    assert "Connection refused" == errors.reason_of(outer)
    assert "plain" == errors.reason_of(RuntimeError("plain"))
    assert "RuntimeError" == errors.reason_of(RuntimeError())


def test_headers_carry_the_token() -> None:
    """A token becomes a bearer header; further headers win."""
    assert "Bearer t" == messages.headers("t", None)["authorization"]
    assert "text/x" == messages.headers(None, {"Content-Type": "text/x"})["content-type"]


def test_the_blocking_client_imports_little() -> None:
    """Command lines that use `sync` do not pay for the server, the async client or the logger."""
    code = "import sys, damocles.rpc.calling.sync, damocles.rpc.address; print(sorted(sys.modules))"
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    heavy = {"httpx2", "starlette", "uvicorn", "structlog", "anyio", "asyncio", "pydantic", "rich"}
    assert set() == heavy & set(ast.literal_eval(listed))

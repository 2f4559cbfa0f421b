"""The line protocol as a dialogue: what is written, and what is made of what comes back."""

import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from damocles.stages import protocol


def output_of(line: bytes) -> bytes:
    """Return the output of a line that is a good answer."""
    read = protocol.read_line(line)
    assert isinstance(read, protocol.Answer)
    assert read.error is None
    assert read.output is not None
    return bytes(read.output)


def test_request_without_extensions_is_the_originals() -> None:
    """A request that names no stage is exactly what the original writes."""
    assert b'{"id":1,"task":{"a":[1,2]}}\n' == protocol.request(1, b'{"a":[1,2]}')


def test_request_names_its_stage() -> None:
    """A request of ours names the stage beside the task."""
    assert b'{"id":2,"task":{},"stage":"pc1"}\n' == protocol.request(2, b"{}", "pc1")


def test_ready_line_is_compared_without_white_space() -> None:
    """White space around the ready line does not count; anything else does."""
    assert protocol.is_ready(b"  c2 processor ready \r", "c2")
    assert not protocol.is_ready(b"c2 processor ready!", "c2")
    assert not protocol.is_ready(b"pc2 processor ready", "c2")


def test_original_answers_are_read() -> None:
    """Output and failure are told apart, and missing keys count as null."""
    assert b'{"x":1}' == output_of(b'{"id":7,"err_msg":null,"output":{"x":1}}')
    failed = protocol.read_line(b'{"id":7,"err_msg":"no such file\\n  caused by"}')
    assert protocol.Answer(id=7, error="no such file\n  caused by") == failed


@pytest.mark.parametrize("output", [b"false", b"0", b"[]", b'""'])
def test_empty_outputs_are_outputs(output: bytes) -> None:
    """Only null is no output; false, zero and empty lists are."""
    assert output == output_of(b'{"id":1,"err_msg":null,"output":' + output + b"}")


@pytest.mark.parametrize("line", [b'{"id":1}', b'{"id":1,"err_msg":null,"output":null}'])
def test_answer_without_output_fails(line: bytes) -> None:
    """An answer with neither output nor error is a failure, in the original's words."""
    assert protocol.Answer(id=1, error="output field lost") == protocol.read_line(line)


def test_foreign_keys_do_not_hide_an_answer() -> None:
    """A foreign processor may use our extension's keys for something else."""
    assert b"true" == output_of(b'{"id":1,"err_msg":null,"output":true,"log":3,"progress":"done","detail":[]}')


def test_details_come_with_a_failure() -> None:
    """A traceback, and that the child ends, come back as they were sent."""
    line = protocol.detailed_failure(3, "text", detail="Traceback", is_last=True)
    assert protocol.Answer(id=3, error="text", detail="Traceback", is_last=True) == protocol.read_line(line)


def test_reports_are_no_answers() -> None:
    """Progress and log lines come back as they were sent."""
    news = protocol.Progress(3, 10)
    assert protocol.Report(id=1, progress=news) == protocol.read_line(protocol.progress(1, news))
    assert protocol.Report(id=1, log="layer 3") == protocol.read_line(protocol.log(1, "layer 3"))


@pytest.mark.parametrize("line", [b"hello", b"", b'{"level":"info","msg":"x"}', b"[1]", b"\xff\xfe"])
def test_prints_of_a_library_are_chatter(line: bytes) -> None:
    """A line that was never meant as an answer is for the log, as with the original."""
    assert isinstance(protocol.read_line(line), protocol.Chatter)


@pytest.mark.parametrize(
    "line",
    [
        b'{"id":1,"err_msg":nul',
        b'{"id":1,"err',
        b'50%{"id":1,"output":1}',
        b'{"id":"one","output":1}',
        b'{"err_msg":""}',
    ],
)
def test_damaged_answers_are_garbled(line: bytes) -> None:
    """A line that was meant as an answer and cannot be read is not waited past."""
    assert isinstance(protocol.read_line(line), protocol.Garbled)


def test_cancellation_is_no_request_to_the_original() -> None:
    """The line lacks the key that an original child needs, so it is skipped there."""
    line = protocol.cancellation(4)
    assert "task" not in msgspec.json.decode(line)
    assert protocol.read_request(line).cancel


@pytest.mark.parametrize("line", [b"", b"{", b'{"task":{}}', b'{"id":1}', b'{"id":"a","task":{}}'])
def test_lines_that_are_no_requests_are_refused(line: bytes) -> None:
    """What has no id or no task is a `ValueError`."""
    with pytest.raises(ValueError):
        protocol.read_request(line)


@given(st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"")), max_size=8), st.integers(1, 7))
def test_lines_survive_any_chunking(lines: list[bytes], chunk: int) -> None:
    """However the bytes arrive, the same lines come out."""
    stream = b"".join(line + b"\n" for line in lines) + b"rest"
    cutter = protocol.Lines()
    got: list[bytes] = []
    for start in range(0, len(stream), chunk):
        got += cutter.feed(stream[start : start + chunk])
    assert lines == got
    assert 4 == cutter.pending_bytes
    assert b"rest" == cutter.end()


@pytest.mark.parametrize("known", [True, False])
def test_a_failure_with_an_odd_file_name_is_answered(known: bool) -> None:
    """Bytes in a name that are not UTF-8 are shown as escapes; without an answer the task would never end."""
    error = os.fsdecode(b"cannot read \xff.car")
    line = protocol.detailed_failure(1, error, detail=error, is_last=False) if known else protocol.failure(1, error)
    answer = protocol.read_line(line.strip())
    assert isinstance(answer, protocol.Answer)
    assert "cannot read \\udcff.car" == answer.error

"""What we write for actors, against go-state-types itself: random values of every method, both ways, in CBOR and JSON.

The small program in `go_state_types` is built once, into the cache of this user, and asked a line for each value. Without Go,
or without its modules, these tests are skipped.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damocles.chain import cids, methods, tuples
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.bitfields import Bitfield
from damocles.chain.methods import Method
from damocles.chain.tuples import Byte, Int
from damocles.wire import codec, commitments
from damocles.wire.codec import CID, Blob, Rows

SOURCE = Path(__file__).parent / "go_state_types"
CACHE = Path("~/.cache/damocles/go-state-types").expanduser()
SHAPES = [
    pytest.param(actors, actor, method, part, id=f"v{actors} {method.name} {part}")
    for actors in (18, 19)
    for actor, some in (("miner", methods.OF_MINER.values()), ("power", (methods.CREATE_MINER,)))
    for method in some
    if actors >= method.since
    for part in ("params", "returns")
    # A mere number, which go-state-types does not write by itself.
    if getattr(method, part) is not None and method is not methods.NOMINAL_EXPIRATION
]

Ask = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """Yield what asks the program, which runs as long as the tests."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed")
    with subprocess.Popen([_built(go)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def asked(question: dict[str, Any]) -> dict[str, Any]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(question).encode() + b"\n")
            process.stdin.flush()
            answer: dict[str, Any] = json.loads(process.stdout.readline())
            return answer

        yield asked
        process.stdin.close()
        assert 0 == process.wait(60)


def _built(go: str) -> Path:
    """Build the program, unless it is there; a name for each content of its sources."""
    files = [SOURCE / name for name in ("main.go", "go.mod", "go.sum")]
    program = CACHE / hashlib.blake2b(b"".join(file.read_bytes() for file in files), digest_size=8).hexdigest()
    if program.exists():
        return program
    # The Go that is there has to do: another one would be downloaded.
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly -buildvcs=false"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [go, *arguments], cwd=SOURCE, env=environment, capture_output=True, text=True, check=False, timeout=1800
        )

    if (got := run("mod", "download")).returncode:
        pytest.skip(f"the modules of go-state-types cannot be had: {got.stderr.strip()[-300:]}")
    CACHE.mkdir(parents=True, exist_ok=True)
    part = program.with_suffix(f".{os.getpid()}")
    made = run("build", "-o", str(part), ".")
    assert 0 == made.returncode, made.stderr
    part.replace(program)
    return program


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Return random values of a type that a field may have."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return st.integers(*{Int: (-(2**63), 2**63 - 1), Byte: (0, 255)}.get(kind, (0, 2**64 - 1)))
    if origin is Rows:
        return st.lists(values(args[0]), max_size=3).map(Rows)
    if origin in {Union, UnionType}:
        (inner,) = (arg for arg in args if arg is not type(None))
        return st.none() | values(inner)
    if isinstance(kind, type) and issubclass(kind, tuples.Tuple):
        hints = get_type_hints(kind, include_extras=True)
        fields = {field.name: values(hints[field.name]) for field in msgspec.structs.fields(kind)}
        return st.builds(kind, **fields)
    return _PLAIN[kind]


_DIGESTS = st.binary(min_size=32, max_size=32)
_RUNS = st.lists(st.tuples(st.integers(0, 2**40), st.integers(1, 2**30)), max_size=4)
_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    Blob: st.binary(max_size=40).map(Blob),
    Amount: st.integers(-(2**200), 2**200).map(Amount),
    Bitfield: st.sets(st.integers(0, 300)).map(Bitfield) | _RUNS.map(lambda runs: Bitfield.from_runs(_lengths(runs))),
    CID: _DIGESTS.map(commitments.sealed_cid)
    | _DIGESTS.map(commitments.unsealed_cid)
    | st.binary(max_size=50).map(cids.of_object),
    Address: st.integers(0, 2**63 - 1).map(Address.of_id)
    | st.binary(min_size=20, max_size=20).map(lambda raw: Address(b"\1" + raw))
    | st.binary(min_size=20, max_size=20).map(lambda raw: Address(b"\2" + raw))
    | st.binary(min_size=48, max_size=48).map(lambda raw: Address(b"\3" + raw))
    | st.binary(min_size=1, max_size=54).map(lambda raw: Address(b"\4\x0a" + raw)),
}


def _lengths(runs: list[tuple[int, int]]) -> list[int]:
    """Return lengths of runs, of which none but the first is empty."""
    lengths = [length for run in runs for length in run]
    return lengths[:1] + [max(1, length) for length in lengths[1:]]


@pytest.mark.slow
@pytest.mark.xdist_group("go")
@pytest.mark.parametrize(("actors", "actor", "method", "part"), SHAPES)
def test_what_we_write_and_read_is_what_go_state_types_does(
    ask: Ask, actors: int, actor: str, method: Method, part: str
) -> None:
    """Our CBOR is read there and written again alike, our JSON becomes our CBOR there, and their JSON our value."""
    kind = getattr(method, part)

    @settings(max_examples=20)
    @given(values(kind))
    def same(value: Any) -> None:
        data = tuples.encode(value, kind).hex()
        asked = {"actors": actors, "actor": actor, "method": method.number, "part": part}
        answer = ask({**asked, "cbor": data, "json": codec.to_builtins(value)})
        assert "" == answer.get("error", ""), answer
        assert (data, data) == (answer["again"], answer["cbor"])
        assert value == codec.from_builtins(answer["json"], kind)
        assert value == tuples.decode(bytes.fromhex(answer["cbor"]), kind)

    same()

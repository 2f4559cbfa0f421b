"""Words of others on a terminal: whatever a peer answers, no command prints a byte that is not a character of a line."""

import inspect
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from anyio import to_thread
from tests.integration.access.conftest import Daemon, StartManager, StartWorker
from tests.unit.cli.test_screens import terminal

from damocles.cli import manager as manager_cli
from damocles.cli import worker as worker_cli
from damocles.rpc import core, dialects, errors
from damocles.rpc.serving import asgi, server
from damocles.wire import codec

from .shapes import PIECE

# An escape sequence, its form of one character, a bell, ends of lines, what turns a line round, and what is not seen.
HOSTILE = "\x1b[31m\x9b1m\x07\r\n\x00\x7f\u202e\u2028\u200b[red]x"
SECTOR = "s-t010000-1"

OF_MANAGER = [
    "alerts list",
    "alerts ack 1",
    "alerts mute 1 --for 1h",
    "alerts unmute 1",
    "auth list",
    "auth create alice --scope read",
    "auth revoke alice --yes",
    "audit list",
    "audit list --full",
    "audit export",
    "util sealer sectors rebuild 10000 1",
    f"util sealer sectors unseal {PIECE} --miner 10000 --sector 1 --size 127 --dest http://h/",
    "util sealer sectors unseal-tasks",
    "util sealer sectors abort 10000 1 --yes",
    "util sealer sectors list",
    "util sealer snap fetch 10000 0",
    "util sealer snap candidates 10000",
    "util worker wdpost list --detail",
    "util worker wdpost reset x",
    "util worker wdpost remove x",
    "util worker wdpost make",
    "util worker list --wide",
    "util worker info --all",
    "util worker info --all --full",
    "util worker pause --all",
    "util worker pause w1 1",
    "util worker resume --all",
    "util worker abort --all --yes",
    "util worker drain w1",
    "util worker drain w1 --wait",
    "util worker undrain w1",
    "util worker logs w1 0",
    f"util worker history {SECTOR}",
    "util worker remove w1 --yes",
    "util worker top",
]
OF_WORKER = [
    "worker drain",
    "worker drain --wait",
    "worker undrain",
    "worker logs 0",
    f"worker history {SECTOR}",
    "worker list",
    "worker list --why",
    "worker pause --all",
    "worker pause 1",
    "worker resume 1",
    "worker resume --all",
    "worker abort --all --yes",
    "auth list",
    "auth create alice --scope read",
    "auth revoke alice --yes",
]


def hostile(info: Any) -> Any:
    """Return a value of a type whose every text is hostile, in lists of one."""
    match info:
        case msgspec.inspect.StructType():
            values = {field.encode_name: hostile(field.type) for field in info.fields}
            return list(values.values()) if info.array_like else values
        case msgspec.inspect.UnionType():
            return hostile(next(one for one in info.types if not isinstance(one, msgspec.inspect.NoneType)))
        case msgspec.inspect.ListType() | msgspec.inspect.VarTupleType() | msgspec.inspect.CollectionType():
            return [hostile(info.item_type)]
        case msgspec.inspect.TupleType():
            return [hostile(one) for one in info.item_types]
        case msgspec.inspect.DictType():
            return {HOSTILE: hostile(info.value_type)}
        case msgspec.inspect.CustomType() if info.cls is codec.CID:
            return {"/": HOSTILE}
        case msgspec.inspect.CustomType() if issubclass(info.cls, codec.Bytes32):
            return [7] * 32
        case msgspec.inspect.EnumType():
            return next(iter(info.cls)).value
        case msgspec.inspect.BoolType():
            return True
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            return 1
        case msgspec.inspect.StrType() | msgspec.inspect.AnyType():
            return HOSTILE
        case msgspec.inspect.BytesType():
            return ""
        case _:
            return None


@asynccontextmanager
async def lying(daemon: Daemon, dialect: dialects.Dialect, *, refuse: bool) -> AsyncIterator[str]:
    """Serve what a daemon serves, with hostile answers of the right types, or hostile refusals; yield where."""
    service = core.Service(dialect)
    for name, method in daemon.service.methods.items():
        returned = inspect.signature(method.handler, eval_str=True).return_annotation
        if method.streams:
            continue
        text = msgspec.json.encode(hostile(msgspec.inspect.type_info(returned)) if returned is not None else None)

        async def answer(  # noqa: PLR0917
            a: Any = None,
            b: Any = None,
            c: Any = None,
            d: Any = None,
            e: Any = None,
            f: Any = None,
            *,
            made: bytes = text,
        ) -> msgspec.Raw:
            if refuse:
                raise errors.RpcError(errors.Code.FAILED, HOSTILE)
            return msgspec.Raw(made)

        service.add(name, _positional(answer))
    async with server.serve(asgi.worker_app(service), "127.0.0.1", 0) as bound:
        yield str(bound)


def _positional(answer: Any) -> Any:
    """Return a handler without the parameter that only binds the answer."""

    async def handler(  # noqa: PLR0917
        a: Any = None, b: Any = None, c: Any = None, d: Any = None, e: Any = None, f: Any = None
    ) -> msgspec.Raw:
        return await answer(a, b, c, d, e, f)  # type: ignore[no-any-return]

    return handler


@pytest.mark.parametrize("refuse", [False, True], ids=["answers", "refusals"])
@pytest.mark.parametrize("program", ["manager", "worker"])
async def test_no_command_prints_what_is_no_character_of_a_line(  # noqa: PLR0917 (fixtures)
    start_manager: StartManager,
    start_worker: StartWorker,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    refuse: bool,
) -> None:
    """Names, versions, logs, histories, errors, acts, reports, reasons, as text and as JSON, on both outputs."""
    monkeypatch.setenv("DAMOCLES_TOKEN", "dmc_0123456789abcdef")
    monkeypatch.setenv("DAMOCLES_WORKER_TOKEN", "dmc_0123456789abcdef")
    is_manager = program == "manager"
    dialect = dialects.MANAGER if is_manager else dialects.WORKER
    main, commands, option = (
        (manager_cli.main, OF_MANAGER, "--listen") if is_manager else (worker_cli.main, OF_WORKER, "-H")
    )
    wrong, told = [], 0
    async with (start_manager if is_manager else start_worker)() as daemon, lying(daemon, dialect, refuse=refuse) as at:
        for command in commands:
            for way in ([], ["--json"]):
                if way and "export" in command:
                    continue
                capsys.readouterr()
                code = await to_thread.run_sync(main, [*command.split(), option, at, *way])
                printed = capsys.readouterr()
                assert code != 2 or not printed.err, (command, printed.err)
                text = printed.out + printed.err
                told += "[red]x" in text
                if not re.sub("[\n\t]", "", text).isprintable() or "Traceback" in text:
                    wrong.append((command, way, text))
                if way and code == 0:
                    _parsed(printed.out)
    assert [] == wrong
    assert told > len(commands) // 2


@pytest.mark.parametrize("refuse", [False, True], ids=["answers", "refusals"])
async def test_nor_does_one_on_a_real_terminal(start_manager: StartManager, refuse: bool) -> None:
    """Where rows are cut and coloured, `top` and a drain that is waited for included, nothing else moves the cursor."""
    words = [
        "util worker top",
        "util worker list",
        "util worker info --all",
        "util worker drain w1 --wait",
        "audit list",
    ]

    def look(at: str) -> list[str]:
        with terminal(100, [["manager", *command.split(), "--listen", at] for command in words]) as screens:
            return screens

    async with start_manager() as daemon, lying(daemon, dialects.MANAGER, refuse=refuse) as at:
        screens = await to_thread.run_sync(look, at)
    assert len(words) == len(screens)
    for command, screen in zip(words, screens, strict=True):
        drawn = screen.replace("\r\x1b[K", "")  # how a line is drawn anew
        assert drawn.replace("\n", "").isprintable(), (command, screen)
        assert "Traceback" not in screen


def _parsed(text: str) -> None:
    """Read JSON, as one value or as one a line."""
    try:
        json.loads(text)
    except json.JSONDecodeError:
        for line in text.splitlines():
            json.loads(line)

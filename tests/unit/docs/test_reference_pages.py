"""Whatever the programs have is in the reference, described by the text that stands where it is declared."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import cyclopts
import pytest

from damocles import methods
from damocles.cli import manager, worker
from damocles.kit.reference import __main__ as reference
from damocles.manager.alerts import config as alerts_config
from damocles.manager.config import model as manager_config
from damocles.text import keys
from damocles.worker.config import model as worker_config

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = {page: page.read_text() for page in DOCS.rglob("*.md")}
GOLDEN = ROOT / "tests/golden/metrics"


def page(name: str) -> str:
    """Return a page of the reference."""
    return PAGES[DOCS / "reference" / f"{name}.md"]


def test_made_parts_are_as_the_source_has_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`make reference` would change nothing; a page that is stale is named, and then written."""
    assert 0 == reference.main([str(DOCS), "--check"]), capsys.readouterr().err
    stale = tmp_path / "page.md"
    stale.write_text("before\n<!-- made: exit-codes -->\nold\n<!-- /made -->\nafter\n")
    assert 1 == reference.main([str(tmp_path), "--check"])
    assert str(stale) in capsys.readouterr().err
    assert 0 == reference.main([str(tmp_path)])
    assert re.fullmatch(
        r"before\n<!-- made: exit-codes -->\n.*\| 8 \|.*\n<!-- /made -->\nafter\n", stale.read_text(), re.DOTALL
    )
    assert 0 == reference.main([str(tmp_path), "--check"])


def test_each_part_stands_on_one_page() -> None:
    """None is left out, none is there twice."""
    assert sorted(reference.PARTS) == sorted(name for text in PAGES.values() for name in reference.names_in(text))


def commands_of(app: cyclopts.App, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], cyclopts.App]]:
    """Yield every command of a program that runs something, with the words that lead to it."""
    for name in app:
        if name.startswith("-"):
            continue
        below = app[name]
        if below.default_command is not None:
            yield (*path, name), below
        yield from commands_of(below, (*path, name))


@pytest.mark.parametrize("module", [worker, manager], ids=lambda module: module.PROGRAM)
def test_every_command_has_an_entry_with_a_text(module: object) -> None:
    """And each of its options says what it is for."""
    program: str = module.PROGRAM  # type: ignore[attr-defined]
    text = page(f"commands-{program.removeprefix('damocles-')}")
    found = list(commands_of(module.parser(), (program,)))  # type: ignore[attr-defined]
    assert len(found) > 15
    for path, _ in found:
        entry = re.search(rf"^#+ {' '.join(path)}\n\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
        assert entry, path
        assert re.search(r"^```\n\n\w.*\.$", entry[1], re.MULTILINE), path
    silent = re.findall(r"^\* `(--[^`]*|[A-Z][^`]*)`: *(?:\*.*)?$", text, re.MULTILINE)
    assert [] == [option for option in silent if "ARGUMENTS" not in option]
    assert " -m " not in "".join(re.findall(r"```console\n(.*)\n```", text))


@pytest.mark.parametrize(
    ("whole", "name"),
    [
        (worker_config.Config, "config-worker"),
        (worker_config.HotConfig, "config-worker"),
        (manager_config.Config, "config-manager"),
        (alerts_config.File, "config-manager"),
    ],
)
def test_every_key_has_an_entry_with_a_meaning(whole: keys.Model, name: str) -> None:
    """And with an example, unless it is a table; a table has a section of its own, or a row."""
    rows = re.findall(r"^\| `([^`|]+)` \| (.+?) \| (.*?) \| (.*?) \| (.*) \|$", page(name), re.MULTILINE)
    entries: dict[str, list[tuple[str, ...]]] = {}
    for key, *cells in rows:
        entries.setdefault(key, []).append(tuple(cells))
    count = 0
    for model in keys.tables_of(whole):
        texts = keys.meanings(model)
        for field_name, field in model.model_fields.items():
            key = keys.key_of(field_name, field)
            assert texts.get(field_name, "").endswith("."), f"{model.__name__}.{field_name} has no text under it"
            assert key in entries or f"{key}]" in page(name) or f"{key}." in page(name), key
            count += 1
    assert count > 10
    for key, found in entries.items():
        for kind, default, example, meaning in found:
            assert meaning, key
            assert "table" in kind or default not in {"", "`[]`"} or example, key


def test_every_method_has_an_entry_with_a_text() -> None:
    """With its parameters, its result, and who may call it."""
    rows = {
        row[0]: row[1:]
        for row in re.findall(r"^\| `(\S+)` \| (.*?) \| (.+?) \| (.+?) \| (.+?) \|$", page("methods"), re.MULTILINE)
    }
    for name, method in methods.ALL.items():
        parameters, *_, about = rows[name]
        assert all(f"`{parameter}`" in parameters for parameter in method.parameters), name
        assert about.endswith("."), name
    assert all(method.about == inspect.cleandoc(method.about) for method in methods.ALL.values())


def test_every_metric_has_an_entry() -> None:
    """Whatever is pinned as served, of the daemons and of their processes."""
    names = {line.split()[0] for file in GOLDEN.glob("*.txt") for line in file.read_text().splitlines()}
    assert len(names) > 40
    assert [] == sorted(name for name in names if f"`{name}`" not in page("metrics"))


def test_links_between_types_lead_somewhere() -> None:
    """Each type that a method names has its section."""
    headings = {
        re.sub(r"[^\w -]", "", title.lower()) for title in re.findall(r"^### (.+)$", page("methods"), re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", page("methods"))) <= headings

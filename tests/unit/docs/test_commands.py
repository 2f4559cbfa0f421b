"""Every command in the documentation is one that the programs have, with the options that they have."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import cyclopts
import pytest

from damocles.cli import manager, worker

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
PAGES = [page for page in PAGES if not page.name.startswith("commands-")]  # made from the parsers
PARSERS = {module.PROGRAM: module for module in (worker, manager)}
# What stands for a value that a reader has to put in.
_PLACEHOLDER = re.compile(r"…|<[^>]*>|\[.*?\]|\.\.\.")
# Commands of the original's manager, for those who come from it.
_OF_THE_ORIGINAL = ("damocles-manager util sealer sectors state export-json",)


def commands() -> Iterator[tuple[str, int, str]]:
    """Yield page, line and text of each line in a block of code that is a command of ours."""
    for page in PAGES:
        within, whole, first = False, "", 0
        for number, line in enumerate(page.read_text().splitlines(), start=1):
            if line.lstrip().startswith("```"):
                within = not within
                continue
            text = line.strip().removeprefix("$ ")
            if within and (whole or text.startswith(tuple(PARSERS))):
                whole, first = f"{whole} {text.removesuffix(chr(92))}", first or number
                if not text.endswith(chr(92)):
                    yield str(page.relative_to(ROOT)), first, whole.strip()
                    whole, first = "", 0


def mentions() -> Iterator[tuple[str, int, str]]:
    """Yield likewise each command that is named in a sentence; what it needs may be left out there."""
    for page in PAGES:
        text = re.sub(
            r"^```.*?^```", lambda block: "\n" * block[0].count("\n"), page.read_text(), flags=re.MULTILINE | re.DOTALL
        )
        for found in re.finditer(r"`(damocles-(?:worker|manager) [^`]+)`", text):
            yield str(page.relative_to(ROOT)), text.count("\n", 0, found.start()) + 1, found[1].replace("\n", " ")


IN_BLOCKS, IN_SENTENCES = list(commands()), list(mentions())
ALL = [*IN_BLOCKS, *IN_SENTENCES]


def test_there_are_commands() -> None:
    """Both kinds are found."""
    assert len(IN_BLOCKS) > 50
    assert len(IN_SENTENCES) > 20


@pytest.mark.parametrize(("page", "line", "text"), ALL, ids=[f"{page}:{line}" for page, line, _ in ALL])
def test_the_programs_take_it(page: str, line: int, text: str) -> None:
    """It is parsed to the end, and nothing is run."""
    words = shlex.split(text, comments=True)
    words = words[: next((at for at, word in enumerate(words) if word in {"|", ">", "&&", "&", ";", "2>&1"}), None)]
    program, *given = words
    if text.startswith(_OF_THE_ORIGINAL):
        pytest.skip("a command of the original's manager")
    if given[:1] in (["processor"], ["--version"]) or any(_PLACEHOLDER.search(word) for word in given):
        pytest.skip("not for the parser, or with a gap to be filled")
    from damocles.cli.terminal import exits

    module = PARSERS[program]
    group = {"damocles-worker": "worker", "damocles-manager": "util"}[program]
    ordered = exits.options_last(given, group, module._CONNECTION)
    try:
        module.parser().parse_args(ordered, exit_on_error=False, print_error=False)
    except (cyclopts.MissingArgumentError, cyclopts.CoercionError) as error:
        if (page, line, text) in IN_BLOCKS:
            pytest.fail(f"{text}: {error}")
    except cyclopts.CycloptsError as error:
        pytest.fail(f"{text}: {error}")

"""Every command of a program with its options, from the parser."""

import re
from collections import Counter

import cyclopts

from damocles.kit import pages

_OPTION = re.compile(r"^\* `(--[\w-]+)[^`]*`: .*$", re.MULTILINE)
_CONNECTION = re.compile(r"^\*\*Connection\*\*:\n\n((?:\* .*\n)+)", re.MULTILINE)


def commands(parser: cyclopts.App) -> str:
    """Return the commands below headings of the second order; what all have to connect is written once, at the end."""
    text = pages.reference(parser)
    text = re.sub(r"\A# .*\n", "", text)
    text = re.sub(r"^## Table of Contents\n\n(?: *- .*\n)+\n", "", text, flags=re.MULTILINE)
    counted = Counter(line for block in _CONNECTION.findall(text) for line in block.splitlines())
    common = [line for line in counted if counted[line] > 2]

    def shortened(block: re.Match[str]) -> str:
        lines = block[1].splitlines()
        names = ", ".join(f"`{found[1]}`" for line in lines if line in common and (found := _OPTION.match(line)))
        own = "\n".join(line for line in lines if line not in common)
        more = f"* {names}: as [everywhere](#connection).\n" if names else ""
        return f"**Connection**:\n\n{own}{chr(10) if own else ''}{more}"

    text = _CONNECTION.sub(shortened, text).strip()
    return f"{text}\n\n## Connection\n\n" + "\n".join(common) if common else text

"""Pages about the command lines, made from the parsers: reference, manual page, shell completion."""

import re
from typing import Literal, TypeAlias

import cyclopts

Shell: TypeAlias = Literal["bash", "zsh", "fish"]

SHELLS: tuple[Shell, ...] = ("bash", "zsh", "fish")

# The generator names switches that the parsers do not have: they ask for none (`negative=()`).
_NO_SUCH_SWITCH = re.compile(r", --(?:no|empty)-[\w-]+")
# It puts in how it was started itself, where that was `python -m`.
_LAUNCHER = re.compile(r" -m damocles[\w.]*")


def reference(parser: cyclopts.App) -> str:
    """Return Markdown with every command of a program and its options."""
    return _clean(parser.generate_docs(output_format="markdown", max_heading_level=4))


def completion(parser: cyclopts.App, shell: Shell) -> str:
    """Return a script that completes a program's commands and options."""
    return parser.generate_completion(shell=shell)


def manual(parser: cyclopts.App) -> str:
    """Return a manual page, in roff.

    Raises:
        ModuleNotFoundError: docutils is not installed (the extra `kit`).
    """
    from docutils import core  # noqa: PLC0415 - an extra
    from docutils.writers import manpage  # noqa: PLC0415

    text = _clean(parser.generate_docs(output_format="rst"))
    text = re.sub(r"^\.\. contents::.*\n(?:   .*\n)*", "", text, flags=re.MULTILINE)
    name = parser.name[0]
    title, about = "=" * len(name), str(parser.help).partition(":")[0].lower().rstrip(".")
    under = "-" * len(about)
    head = f"{title}\n{name}\n{title}\n\n{under}\n{about}\n{under}\n\n:Manual section: 1\n"
    text = re.sub(rf"{title}\n{name}\n{title}\n", head, text, count=1)
    roff: str = core.publish_string(
        text, writer=manpage.Writer(), settings_overrides={"report_level": 4, "output_encoding": "unicode"}
    )
    return roff


def _clean(text: str) -> str:
    return _LAUNCHER.sub("", _NO_SUCH_SWITCH.sub("", text))

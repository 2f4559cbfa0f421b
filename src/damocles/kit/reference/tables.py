"""Tables in Markdown, and texts that stand in them."""

import ast
import inspect
import textwrap
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; every row has as many cells as the head."""
    lines = [_line(head), f"|{'---|' * len(head)}", *(_line(row) for row in rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(' '.join(text.split()).replace('|', chr(92) + '|') for text in cells)} |"


def first_paragraph(thing: object) -> str:
    """Return the first paragraph of a docstring, in one line."""
    return " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())


def texts_under(kind: type) -> dict[str, str]:
    """Return the text that stands under each field, or member, of a class, in one line."""
    (found,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(found, ast.ClassDef)
    texts: dict[str, str] = {}
    for field, text in zip(found.body, found.body[1:], strict=False):
        if not (isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)):
            continue
        if isinstance(field, ast.Assign | ast.AnnAssign):
            target = field.targets[0] if isinstance(field, ast.Assign) else field.target
            texts[ast.unparse(target)] = " ".join(str(text.value.value).split())
    return texts

"""`--watch`: a command that prints a list prints it again every two seconds, until Ctrl-C.

On a terminal each list is drawn over the one before. With `--json` each is one line. Anything else is refused: nobody
reads lists that follow each other in a file.
"""

import contextlib
import functools
import inspect
import io
import shutil
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec

from cyclopts import Parameter

from damocles.cli.terminal import exits

P = ParamSpec("P")

EVERY_SECONDS = 2.0
HOME, END_OF_LINE, END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"

Watch = Annotated[
    bool,
    Parameter(
        name="--watch",
        help="Show it again every two seconds, until Ctrl-C; with --json, one line each time.",
        show_default=False,
    ),
]


def watchable(command: Callable[P, int]) -> Callable[..., int]:
    """Give a command the option `--watch`."""

    @functools.wraps(command)
    def watched(*args: Any, watch: bool = False, **options: Any) -> int:
        if not watch:
            return command(*args, **options)
        return again(lambda: command(*args, **options), as_json=bool(options.get("json")))

    said = inspect.signature(command)
    option = inspect.Parameter("watch", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Watch)
    watched.__signature__ = said.replace(parameters=[*said.parameters.values(), option])  # type: ignore[attr-defined]
    watched.__annotations__ = {**command.__annotations__, "watch": Watch}
    return watched


def again(show: Callable[[], int], *, as_json: bool, pause: Callable[[float], None] = time.sleep) -> int:
    """Call `show` until Ctrl-C; what fails on a terminal is shown in place of the list, and tried again.

    Raises:
        exits.WrongUsage: There is no terminal, and it is not `as_json`.
        exits.Failed: As `show`, if it is `as_json`.
    """
    if not (as_json or sys.stdout.isatty()):
        raise exits.WrongUsage("--watch needs a terminal; elsewhere add --json, for one line each time")
    look = functools.partial(_line, show) if as_json else functools.partial(_redraw, show)
    try:
        while True:
            look()
            sys.stdout.flush()
            pause(EVERY_SECONDS)
    except KeyboardInterrupt:
        return exits.OK


def _line(show: Callable[[], int]) -> None:
    with exits.json_in_a_line():
        show()


def _redraw(show: Callable[[], int]) -> None:
    drawn = _Screen()
    with contextlib.redirect_stdout(drawn), contextlib.redirect_stderr(drawn):
        try:
            show()
        except exits.WrongUsage:
            raise
        except exits.Failed as failure:
            exits.error(str(failure))
            exits.hint("(trying again)")
    rows = shutil.get_terminal_size().lines
    lines = drawn.getvalue().splitlines()
    if len(lines) > rows - 1:
        lines = [*lines[: rows - 2], f"… and {len(lines) - (rows - 2)} more lines"]
    sys.stdout.write(HOME + "".join(f"{line}{END_OF_LINE}\n" for line in lines) + END_OF_SCREEN)


class _Screen(io.StringIO):
    """What is shown on the terminal once it is complete."""

    def isatty(self) -> bool:
        """Return that it is to look as on a terminal."""
        return True

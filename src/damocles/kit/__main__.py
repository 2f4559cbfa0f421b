"""Put the kit where a machine looks for it: `python -m damocles.kit [PREFIX] [--bin DIR]`.

Replaces what it has put there before. Configurations in use lie elsewhere, in `/etc/damocles`, and are never touched.
"""

import argparse
import importlib.resources
import shutil
import sys
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path

from damocles.cli import manager, worker
from damocles.kit import pages

PLACES = {
    "systemd": "lib/systemd/system",
    "monitoring": "share/damocles/monitoring",
    "examples": "share/damocles/examples",
}
COMPLETIONS = {
    "bash": "share/bash-completion/completions/{name}",
    "zsh": "share/zsh/site-functions/_{name}",
    "fish": "share/fish/vendor_completions.d/{name}.fish",
}
_UNIT_BIN = "/usr/local/bin"  # where the units in the kit look for the programs


def main(arguments: list[str] | None = None) -> int:
    """Write the files, print their paths; 0 if all are there."""
    parser = argparse.ArgumentParser(prog="python -m damocles.kit", description=__doc__)
    parser.add_argument("prefix", nargs="?", type=Path, default=Path("/usr/local"), help="default: /usr/local")
    parser.add_argument("--bin", type=Path, help="where the two programs are; default: beside this Python")
    given = parser.parse_args(arguments)
    programs = given.bin or Path(sys.executable).parent
    try:
        for path in install(given.prefix, programs):
            print(path)
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def install(prefix: Path, programs: Path) -> Iterator[Path]:
    """Write all files below a prefix, yielding each path; units start the two programs in the folder `programs`."""
    root = importlib.resources.files("damocles.kit")
    for folder, place in PLACES.items():
        for file in sorted(root.joinpath(folder).iterdir(), key=lambda found: found.name):
            yield _put(prefix / place / file.name, _text(file, programs))
    for module in (worker, manager):
        app = module.parser()
        for shell in pages.SHELLS:
            yield _put(prefix / COMPLETIONS[shell].format(name=module.PROGRAM), pages.completion(app, shell))
        try:
            yield _put(prefix / f"share/man/man1/{module.PROGRAM}.1", pages.manual(app))
        except ModuleNotFoundError:
            print("no manual pages: they need docutils (pip install 'damocles[kit]')", file=sys.stderr)


def _text(file: Traversable, programs: Path) -> str:
    text = file.read_text()
    return text.replace(_UNIT_BIN, str(programs)) if file.name.endswith(".service") else text


def _put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    shutil.copymode(path, part) if path.exists() else part.chmod(0o644)
    return part.replace(path)


if __name__ == "__main__":
    sys.exit(main())

"""`damocles-worker generator`: make files that several sectors share."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from damocles.cli.terminal import exits
from damocles.stages import protocol
from damocles.stores import layout
from damocles.wire import codec, sectors, tasks

app = App(name="generator", help="Make files that several sectors share.", version_flags=[])


@app.command
def tree_d(
    *,
    sector_size: Annotated[str, Parameter(name=["--sector-size", "-s"], help="The sector size, like 32GiB.")],
    path: Annotated[Path, Parameter(name=["--path", "-p"], help="The folder to make it in.")],
    json: Annotated[bool, Parameter(name="--json", help="Print JSON.")] = False,
) -> int:
    """Make tree-d of an empty sector, for `processors.static_tree_d`."""
    try:
        size = sectors.SectorSize.parse(sector_size)
    except ValueError as error:
        raise exits.WrongUsage(f"--sector-size: {error}") from error
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path, prefix="empty-sector-") as staged:
            staged.truncate(size)  # sparse: takes no space
            task = tasks.TreeD(sectors.SealProof.of(size).proof_name, staged.name, str(path.resolve()))
            _run(codec.encode(task))
    except OSError as error:
        raise exits.Failed(f"cannot write to {path}: {error.strerror}") from error
    made = path / layout.TREE_D
    if json:
        exits.print_json({"sector_size": size.label, "path": str(made)})
    else:
        print(f"{made}: created, for sectors of {size.label}")
    return exits.OK


def _run(task: bytes) -> None:
    """Run one task in a child of our own; its log goes to our stderr."""
    command = [sys.executable, "-m", "damocles.cli.worker", "processor", "tree_d"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:  # noqa: S603
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            if not protocol.is_ready(child.stdout.readline(), "tree_d"):
                raise exits.Failed("the processor of tree_d did not start; see above")
            child.stdin.write(protocol.request(1, task))
            child.stdin.flush()
            for line in child.stdout:
                answer = protocol.read_line(line)
                if isinstance(answer, protocol.Answer):
                    if answer.error is not None:
                        raise exits.Failed(f"cannot make tree-d: {answer.error}")
                    return
            raise exits.Failed("the processor of tree_d ended without an answer")
        finally:
            child.kill()

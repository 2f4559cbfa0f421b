"""A processor of ours that is held up, or fails, where a test wants it: `held.py STAGE FOLDER`.

The stage is the real one. While FOLDER/STAGE.begin exists it does not begin; while FOLDER/STAGE.end exists its work is done
and its answer not given. FOLDER/STAGE.fail holds the text of an error that comes instead of the answer. What happened is in
FOLDER/STAGE.log, a word and the pid in each line.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from damocles.stages import job
from damocles.stages.processor import builtin, runner

LOOK_SECONDS = 0.02


def held(stage: str, folder: Path, work: Callable[[Any, job.Job], Any]) -> Callable[[Any, job.Job], Any]:
    """Return the work with our hand at both of its ends."""

    def say(word: str) -> None:
        with (folder / f"{stage}.log").open("a") as log:
            log.write(f"{word} {os.getpid()}\n")

    def wait(where: str) -> None:
        if (folder / f"{stage}.{where}").exists():
            say("held")
        while (folder / f"{stage}.{where}").exists():
            time.sleep(LOOK_SECONDS)

    def run(task: Any, around: job.Job) -> Any:
        say("begun")
        wait("begin")
        output = work(task, around)
        wait("end")
        failure = folder / f"{stage}.fail"
        if failure.exists():
            around.log(f"{stage} looks at its disk")
            raise OSError(failure.read_text())
        say("done")
        return output

    return run


if __name__ == "__main__":
    name, place = sys.argv[1], Path(sys.argv[2])
    processors = cast("dict[str, Callable[[Any, job.Job], Any]]", builtin.PROCESSORS)
    processors[name] = held(name, place, processors[name])
    runner.main([name])

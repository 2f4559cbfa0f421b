"""The child: reads tasks on stdin, does them, answers on stdout (`damocles-worker processor <stage>`).

Speaks `protocol` to our own worker and to the original one. The main thread only reads, so that the end of stdin, which
means that the parent is gone, ends the process at once even while a task computes. Each task has a thread of its own;
how many there are at a time is the parent's business.

Kept small: an idle child costs what it imports.
"""

import argparse
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import msgspec

from damocles import failpoints
from damocles.stages import descriptors, host, job, protocol
from damocles.stages.files import copies, uploads
from damocles.wire import codec

_READ_BYTES = 1 << 20


class Runner:
    """Serves one stage, or all of them, until stdin ends."""

    def __init__(self, stage: str, *, requests: int, answers: int, disable_link: bool = False) -> None:
        self._stage = stage
        self._requests = requests
        self._answers = answers
        self._write_lock = threading.Lock()
        self._jobs: dict[int, job.Job] = {}
        self._processors: dict[str, Callable[[Any, job.Job], Any]] = {
            "transfer": lambda task, around: copies.run(task, around, disable_link=disable_link),
            "upload": uploads.run,
        }

    def serve(self) -> None:
        """Report that we are ready, then serve; return when stdin has ended."""
        wanted = descriptors.STAGES.values() if self._stage == descriptors.ALL else [descriptors.STAGES[self._stage]]
        if any(stage.needs_proofs for stage in wanted):
            # Before the ready line: a child that cannot do its work must not look as if it could.
            from damocles.stages.processor import builtin  # noqa: PLC0415 - transfer does without the library of proofs

            self._processors.update(builtin.PROCESSORS)
        self._write(protocol.ready_line(self._stage))
        lines = protocol.Lines()
        while data := os.read(self._requests, _READ_BYTES):
            for line in lines.feed(data):
                self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            request = protocol.read_request(line)
        except ValueError as error:
            say(f"request skipped: {error}: {protocol.excerpt(line)}")
            return
        if request.cancel:
            if around := self._jobs.get(request.id):
                around.cancel()
            return
        around = job.Job(self._news(request.id) if request.stage else None)
        self._jobs[request.id] = around
        threading.Thread(target=self._work, args=(request, around), name=f"task {request.id}", daemon=True).start()

    def _news(self, request_id: int) -> Callable[[protocol.Progress | str], None]:
        def send(news: protocol.Progress | str) -> None:
            if isinstance(news, str):
                self._write(protocol.log(request_id, news))
            else:
                self._write(protocol.progress(request_id, news))

        # The first word to a parent that knows our extensions tells it that we know them too.
        send(protocol.Progress(0))
        return send

    def _work(self, request: protocol.Request, around: job.Job) -> None:
        spoiled = False
        try:
            output = codec.encode(self._do(request, around))
            answer = protocol.success(request.id, output)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent waits for an answer
            detail = "".join(traceback.format_exception(error))
            text = str(error) or type(error).__name__
            spoiled = getattr(error, "spoils_process", False)
            if request.stage:
                answer = protocol.detailed_failure(request.id, text, detail=detail, is_last=spoiled)
            else:
                answer = protocol.failure(request.id, text)
            say(f"task {request.id} failed: {text if request.stage else detail}")
        self._jobs.pop(request.id, None)
        self._write(answer)
        if spoiled:
            leave("the library of proofs panicked and may hang from now on: a new process has to take over")

    def _do(self, request: protocol.Request, around: job.Job) -> object:
        name = self._stage if self._stage != descriptors.ALL else request.stage
        if name is None or request.stage not in {None, name}:
            raise ValueError(
                f"this child serves {self._stage}, the request is for {request.stage or 'a stage that it does not name'}"
            )
        stage = descriptors.named(name)
        try:
            task = codec.decode(request.task, stage.task)
        except msgspec.DecodeError as error:
            raise ValueError(f"task of {name}: {error}") from error
        failpoints.reach(f"stage.before:{name}")
        output = self._processors[name](task, around)
        failpoints.reach(f"stage.after:{name}")
        return output

    def _write(self, line: bytes) -> None:
        with self._write_lock:
            write_whole(self._answers, line)


def write_whole(answers: int, line: bytes) -> None:
    """Write a line to the parent; without a parent, end the process."""
    rest = memoryview(line)
    try:
        while rest:
            rest = rest[os.write(answers, rest) :]
    except BrokenPipeError:
        leave("parent does not read answers any more")


def say(text: str) -> None:
    """Write to the log, which is stderr."""
    sys.stderr.write(text.rstrip() + "\n")
    sys.stderr.flush()


def leave(reason: str) -> NoReturn:
    """End the process now, whatever its threads compute."""
    say(reason)
    os._exit(1)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a child; `arguments` are those behind `processor`. Never returns: the end of a child is an exit with 1."""
    host.end_with_parent()
    stage, disable_link = _parse(sys.argv[1:] if arguments is None else arguments)
    # The parent decides when we end; Python's own handler would wait for native code to come back.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    host.settle(say)
    if stage in {"pc1", "unseal", descriptors.ALL}:
        host.prepare_multicore_sdr(os.environ, say)
    requests, answers = take_over_pipes()
    runner = Runner(stage, requests=requests, answers=answers, disable_link=disable_link)
    try:
        runner.serve()
    except ImportError as error:
        leave(f"the library of proofs cannot be loaded: {error}. Install damocles-proofs in {sys.prefix}")
    leave("got empty line, parent might be out")


class _Parser(argparse.ArgumentParser):
    """Reports errors as the other commands do: in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (try --help)\n")


def _parse(arguments: Sequence[str]) -> tuple[str, bool]:
    parser = _Parser(
        prog="processor", description="Read tasks as lines of JSON on stdin, and answer on stdout, until stdin ends."
    )
    parser.add_argument("stage", choices=[*descriptors.STAGES, descriptors.ALL], metavar="stage", help="%(choices)s")
    parser.add_argument("--disable-link", "--disable_link", action="store_true", help="transfer: always copy")
    # Options of the original's pc1, which a configuration may hold: the published library of proofs has no such pool.
    for option in ("path", "path-pattern"):
        flag = f"--hugepage-files-{option}"
        parser.add_argument(
            flag, flag.replace("-", "_").replace("__", "--", 1), dest="hugepages", help=argparse.SUPPRESS
        )
    options = parser.parse_args(arguments)
    if options.hugepages:
        say(f"huge pages in {options.hugepages} are not used: this build takes PC1's memory from the system")
    return options.stage, options.disable_link or os.environ.get("DISABLE_LINK", "") not in {"", "0", "false"}


def take_over_pipes() -> tuple[int, int]:
    """Move the pipes away from descriptors 0 and 1, so that nothing but the protocol gets into them."""
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


if __name__ == "__main__":
    main()

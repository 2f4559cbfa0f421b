"""`config keys`: every key of a file, found by what a person remembers of it."""

import json

import pytest

from damocles.cli import manager, worker
from damocles.manager.config import model as manager_config
from damocles.text import keys
from damocles.worker.config import model as worker_config


def printed(capsys: pytest.CaptureFixture[str], program, *words: str):
    """Return what `config keys --json` prints."""
    assert 0 == program.main(["config", "keys", *words, "--json"])
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("program", "model"), [(worker, worker_config.Config), (manager, manager_config.Config)])
def test_every_key_is_listed_once(program, model, capsys):
    """As many as the models have, each under a name of its own and with a meaning."""
    rows = printed(capsys, program)
    assert sum(len(section.keys) for section in keys.sections(model)) == len(rows)
    assert len({row["key"] for row in rows}) == len(rows)
    assert all(row["meaning"].endswith(".") and row["value"] for row in rows)


def test_one_key_is_told_whole(capsys):
    """With the tables that it may stand in, a line as it is written, and whether the original has it."""
    assert 0 == worker.main(["config", "keys", "worker.home"])
    assert [
        "Key:       worker.home",
        "Table:     [worker]",
        "Value:     path",
        'Default:   "~/.damocles-worker"',
        'Example:   home = "/var/lib/damocles-worker"',
        "Meaning:   The folder of the worker's own small files: tokens, audit.",
        "Original:  does not have it",
    ] == capsys.readouterr().out.splitlines()


def test_words_of_the_meaning_lead_to_a_key(capsys):
    """Where no name has them; the key of many tables alike is there once, with all of them."""
    assert ["worker.trash_retention"] == [row["key"] for row in printed(capsys, worker, "aborted sector")]
    (cpuset,) = printed(capsys, worker, "cpuset")
    assert "[processors.pc1.cgroup]" in cpuset["tables"]
    assert printed(capsys, worker, "[[sealing_thread]]") == printed(capsys, worker, "sealing_thread")


def test_a_key_that_is_not_there_is_guessed(capsys):
    """With a code for scripts."""
    assert 1 == worker.main(["config", "keys", "worker.hoem"])
    assert "did you mean" in capsys.readouterr().err


def test_the_alerts_file_has_keys_too(capsys):
    """Beside those of the manager."""
    assert printed(capsys, manager, "--alerts") != printed(capsys, manager)

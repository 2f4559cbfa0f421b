"""Where options may stand, and how wrong ones are told."""

import pytest

from damocles.cli import manager


@pytest.fixture
def called(capsys):
    """Return what runs `damocles-manager` and gives its exit code and stderr."""

    def called(*arguments: str) -> tuple[int, str]:
        code = manager.main(arguments)
        return code, capsys.readouterr().err

    return called


@pytest.mark.parametrize(
    "arguments",
    [
        ("util", "--listen", "127.0.0.1:1", "worker", "list"),
        ("util", "--listen=127.0.0.1:1", "--timeout", "9s", "worker", "list", "--wide"),
        ("util", "--token-file", "TOKEN", "--listen", "127.0.0.1:1", "sealer", "sectors", "list"),
        ("util", "worker", "--listen", "127.0.0.1:1", "list"),
        ("util", "sealer", "--timeout=9s", "sectors", "--listen=127.0.0.1:1", "list"),
        ("util", "worker", "list", "--listen", "127.0.0.1:1"),
    ],
)
def test_how_to_reach_the_manager_may_stand_before_the_command(called, tmp_path, arguments):
    """The address, who calls and how patiently are understood before and behind a command of `util`."""
    (tmp_path / "token").write_text("dmc_token\n")
    code, err = called(*(text.replace("TOKEN", str(tmp_path / "token")) for text in arguments))
    assert (4, "error: manager: http://127.0.0.1:1/rpc/v0 cannot be reached:") == (code, err[:60])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--expiration", "-1s"), "--expiration needs a value; one that begins with - is written --expiration=VALUE"),
        (("--expiration=-1s",), "--expiration: '-1s' is not a duration: write numbers with units"),
        (("--timeout", "0"), "--timeout: '0' is not a duration without a unit: write numbers with units"),
        (("--timeout", "0s"), "--timeout: '0s' is not a positive duration: write one like 5s or 2h"),
    ],
)
def test_a_wrong_duration_is_told_in_a_line(called, arguments, text):
    """What is wrong with it, and how it is written."""
    code, err = called("util", "worker", "list", *arguments)
    assert (2, 1, True) == (code, len(err.splitlines()), err.startswith(f"error: {text}")), err


def test_an_unknown_option_leads_to_one_that_is_spelled_alike_and_to_no_other(called):
    """Two dashes alone are no likeness."""
    assert (2, "error: Unknown option: --insekure. Did you mean --insecure? (try --help)\n") == called(
        "util", "worker", "list", "--insekure"
    )
    assert (2, "error: Unknown option: --sector-size (try --help)\n") == called(
        "util", "worker", "list", "--sector-size", "1"
    )


@pytest.mark.parametrize("command", [("mock", "--miner", "1000", "--sector-size", "2KiB"), ("devnode",)])
def test_a_wrong_length_of_an_epoch_is_told_with_its_option(called, command):
    """There are several durations that it could be."""
    code, err = called(*command, "--block-delay", "soon")
    assert (2, "error: --block-delay: 'soon' is not a duration") == (code, err[:46])

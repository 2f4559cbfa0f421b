"""Where a node is, and its token."""

from pathlib import Path

import pytest

from damocles.lotus.places import BadTokenFile, Place

TOKEN = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJBbGxvdyI6WyJyZWFkIl19.x-Y_z"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file with a token that only we may read."""
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return path


def test_the_token_is_that_of_the_file(file):
    """Blanks around it are none of it."""
    assert Place.of("/ip4/10.0.0.1/tcp/1234/http", token_file=file).token() == TOKEN
    assert Place.of("10.0.0.1").token() is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_token_that_others_may_read_is_refused(file, mode):
    """The error says how to mend it, and does not show the token."""
    file.chmod(mode)

    with pytest.raises(BadTokenFile, match=f"chmod 600 {file}") as caught:
        Place.of("10.0.0.1", token_file=file).token()
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    "content", ["", "\n", "secret", f"{TOKEN} {TOKEN}", f"{TOKEN}:/ip4/127.0.0.1/tcp/1234/http", "a.b.ü"]
)
def test_what_is_no_token_is_refused_and_not_shown(file, content):
    """Nor what Lotus prints with the address behind it."""
    file.write_text(content)

    with pytest.raises(BadTokenFile, match="holds no token") as caught:
        Place.of("10.0.0.1", token_file=file).token()
    assert "secret" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    """With the system's reason."""
    with pytest.raises(BadTokenFile, match="nowhere with the token of the node cannot be read: No such file"):
        Place.of("10.0.0.1", token_file=tmp_path / "nowhere").token()


def test_an_address_with_the_token_in_front_is_refused_and_not_shown():
    """Settings are not secret."""
    with pytest.raises(ValueError, match="has no token in it") as caught:
        Place.of(f"{TOKEN}:/ip4/127.0.0.1/tcp/1234/http")
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("where", "openly"),
    [
        ("http://127.0.0.1:1234", False),
        ("http://localhost:1234", False),
        ("http://[::1]:1234", False),
        ("https://node.example", False),
        ("http://node.example", True),
        ("/ip4/10.0.0.1/tcp/1234/http", True),
    ],
)
def test_a_token_that_leaves_the_machine_without_tls_is_known(file, where, openly):
    """Without a token there is nothing to read."""
    assert openly is Place.of(where, token_file=file).sends_token_openly
    assert not Place.of(where).sends_token_openly

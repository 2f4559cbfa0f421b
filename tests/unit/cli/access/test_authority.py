"""The private authority: what it makes, and what it leaves alone."""

from pathlib import Path

import pytest
from cryptography import x509

from damocles.cli import manager as manager_cli
from damocles.cli.access import authority
from damocles.cli.terminal import exits


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an authority and the certificate of one machine."""
    authority.ca(directory=tmp_path / "ca", host=["gpu1,10.0.0.7"])
    return tmp_path / "ca"


def content(folder: Path) -> dict[str, bytes]:
    """Return all files."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize(
    "host", ["ca", "ca,10.0.0.1", "a b", "", "a,", "a/b", "../x", "exa..mple", "\x1b[31m", "gpu1", "gpu1,gpu2"]
)
def test_what_is_no_new_machine_is_refused(folder: Path, host: str) -> None:
    """Names that are none, the authority's own and those that are taken are wrong usage, and no file changes."""
    before = content(folder)
    with pytest.raises(exits.WrongUsage):
        authority.ca(directory=folder, host=["gpu9", host])
    assert before == content(folder)


def test_a_machine_is_given_once(folder: Path) -> None:
    """Two certificates under one name would be one file."""
    with pytest.raises(exits.WrongUsage, match="gpu2 is given twice"):
        authority.ca(directory=folder, host=["gpu2", "gpu2,10.0.0.8"])


def test_a_certificate_is_renewed_when_asked_to(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --renew a machine gets a new key by the same authority."""
    before = content(folder)
    assert 2 == manager_cli.main(["auth", "ca", "--dir", str(folder), "--host", "gpu1"])
    assert "gpu1.key already exists: pass --renew to replace it" in capsys.readouterr().err
    assert 0 == manager_cli.main(["auth", "ca", "--dir", str(folder), "--host", "gpu1", "--renew"])
    after = content(folder)
    assert {"gpu1.key", "gpu1.pem"} == {name for name in after if after[name] != before[name]}
    (_, signer) = x509.load_pem_x509_certificates(after["gpu1.pem"])
    assert signer == x509.load_pem_x509_certificate(before["ca.pem"])

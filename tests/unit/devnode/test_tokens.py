"""The tokens of a devnode, which others read while it starts."""

from pathlib import Path

from damocles.devnode import beginnings, wallet
from damocles.devnode.rules import Rules


def test_tokens_stay_whole_where_they_are(tmp_path: Path) -> None:
    """A start leaves the tokens of the same devnet untouched; others take their place at once, for their owner alone."""
    first, other = (
        beginnings.begin(Rules(), accepts_any_proof=True, secret=bytes([number]) * 32)[0] for number in (1, 2)
    )
    names = sorted(["token", *(f"token-{name}" for name in wallet.PERMISSIONS)])
    wallet.write_tokens(tmp_path, first.tokens)
    assert names == sorted(path.name for path in tmp_path.iterdir())
    before = {name: (tmp_path / name).stat() for name in names}
    (tmp_path / "token-read").chmod(0o644)
    wallet.write_tokens(tmp_path, first.tokens)
    for name in set(names) - {"token-read"}:
        now = (tmp_path / name).stat()
        assert (before[name].st_ino, before[name].st_mtime_ns) == (now.st_ino, now.st_mtime_ns)
    with (tmp_path / "token").open() as reader:
        wallet.write_tokens(tmp_path, other.tokens)
        assert first.token == reader.read()  # whoever has begun reads the old one to its end
    assert other.token == (tmp_path / "token").read_text()
    assert names == sorted(path.name for path in tmp_path.iterdir())
    assert {0o600} == {(tmp_path / name).stat().st_mode & 0o777 for name in names}

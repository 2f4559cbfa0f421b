"""What a configuration of the original's manager comes to here."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pydantic
import pytest

from damocles.cli import manager
from damocles.manager.config import adopt, load, model
from damocles.text import tables

ORIGINAL = """
[Common.API]
chain = "/ip4/10.0.0.9/tcp/3453"
Messager = "/ip4/10.0.0.9/tcp/39812"
Market = "/ip4/10.0.0.9/tcp/41235"
Gateway = ["/ip4/10.0.0.9/tcp/45132"]
Token = "S3CRETMARKER.S3CRETMARKER.abc"
[[Common.PersistStores]]
Name = "p1"
Path = "/mnt/p1"
ReadOnly = false
Weight = 2
[Common.DB]
Driver = "badger"
[[Miners]]
Actor = 10086
[Miners.Sector]
MinNumber = 1000
MaxNumbr = 1000000
[Miners.Commitment.Pre]
Sender = "f1abjxfbp274xpdqcpuaykwkfb43omjotacm2p3za"
[Miners.Commitment.Pre.batch]
Threshold = 16
CheckInterval = "1m0s"
[Miners.Commitment.Prove]
GasFeeCap = "7 nanoFIL"
[Miners.PoSt]
Enabled = true
[Miners.Deal]
Enabled = true
"""


def adopted(text: str = ORIGINAL) -> adopt.Adopted:
    """Return what a file comes to."""
    return adopt.adopt(tomllib.loads(text))


def test_what_is_kept_is_a_configuration_of_ours() -> None:
    """Keys are taken in whatever case, and the new tables are checked as a file of ours."""
    config = load.check(adopted().tables, "new")
    assert [] == list(adopted().problems)
    (node,) = config.chain.nodes
    assert "http://10.0.0.9:3453/rpc/v1" == node.api
    assert [("p1", Path("/mnt/p1"))] == [(store.name, store.path) for store in config.common.persist_stores]
    (miner,) = config.miners
    assert (10086, 1000, 16) == (miner.actor, miner.sector.above, miner.commitment.pre.batch.threshold)
    assert 7 * 10**9 == miner.commitment.prove.gas_fee_cap


@pytest.mark.parametrize(
    ("key", "kind", "words"),
    [
        ("Common.API.Messager", "ignored", "`lotus wallet import` the senders' keys"),
        ("Common.API.Market", "refused", "deals are taken from a folder"),
        ("Common.API.Gateway", "ignored", "nothing is asked of a gateway"),
        ("Common.API.chain", "differs", "a Lotus node, v1.36 or later"),
        ("Common.API.Token", "needed", "TokenFile"),
        ("Common.DB.Driver", "ignored", "util sealer import"),
        ("Common.PersistStores[0].Weight", "differs", "the workers choose"),
        ("Miners[0].Sector.MaxNumbr", "refused", 'did you mean "MaxNumber"?'),
        ("Miners[0].Commitment.Pre.batch.CheckInterval", "ignored", "each head is looked at"),
        ("Miners[0].Commitment.Prove.GasFeeCap", "differs", "the original never uses it"),
        ("Miners[0].PoSt", "differs", "set Enabled = false until the original"),
        ("Miners[0].Deal", "refused", "there is no such key"),
    ],
)
def test_each_difference_says_what_to_do_instead(key: str, kind: str, words: str) -> None:
    """By its key as it stands in the file."""
    (found,) = [one for one in adopted().notes if one.key == key]
    assert kind == found.kind
    assert words in found.text


def test_nothing_else_is_different() -> None:
    """What works as in the original is not mentioned, and no line has a secret in it."""
    assert 12 == len(adopted().notes)
    assert "S3CRETMARKER" not in str(adopted())


def without_effect(table: type[pydantic.BaseModel], path: str = "", name: str = "") -> Iterator[str]:
    """Yield the keys that are said to have none, as code reads them: the table's name and theirs."""
    for inner_name, field in table.model_fields.items():
        key = f"{path}{field.alias or inner_name}"
        if (inner := tables.table_in(field.annotation)) is not None:
            yield from without_effect(inner, f"{key}.", inner_name)
        elif adopt.note_of(key).startswith("Without effect"):
            yield f"{name}.{inner_name}"


def test_what_is_said_to_have_no_effect_has_none() -> None:
    """Nothing in the manager reads such a key of a miner."""
    said = list(without_effect(model.Miner))
    folder = Path(adopt.__file__).parents[1]
    sources = [path for path in folder.rglob("*.py") if path.parent != Path(adopt.__file__).parent]
    code = "\n".join(path.read_text() for path in sources)
    assert "sector.verbose" in said
    assert [] == [key for key in said if re.search(rf"\b{re.escape(key)}\b", code)]


def test_a_token_in_front_of_an_endpoint_goes_into_a_file() -> None:
    """The address is kept without it."""
    made = adopted('[Common.API]\nChain = "S3CRETMARKER.b.c:/ip4/10.0.0.9/tcp/1234"\n[[Miners]]\nActor = 1\n')
    assert [{"API": "/ip4/10.0.0.9/tcp/1234", "TokenFile": adopt.TOKEN_FILE}] == made.tables["Chain"]["Nodes"]
    assert {"needed", "differs"} == {one.kind for one in made.notes}
    assert "S3CRETMARKER" not in str(made)


def test_what_is_missing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a node the new file could not be used, and the command fails; what could be used is written and checks."""
    file, new = tmp_path / "sector-manager.cfg", tmp_path / "manager.toml"
    file.write_text("[[Miners]]\nActor = 1\n")
    assert 1 == manager.main(["config", "check", "--from-damocles", str(file)])
    printed = capsys.readouterr()
    assert "needed: Chain.Nodes: a Lotus node" in printed.out
    assert "Chain.Nodes: expected at least one node" in printed.err
    file.write_text(ORIGINAL)
    assert 0 == manager.main(["config", "check", "--from-damocles", str(file), "--write", str(new), "--json"])
    assert 12 == len(json.loads(capsys.readouterr().out)["differences"])
    assert "S3CRETMARKER" not in new.read_text()
    new.write_text(new.read_text().replace("/mnt/", f"{tmp_path}/"))
    (tmp_path / "p1").mkdir()
    assert 0 == manager.main(["config", "check", str(new)])
    assert f"{new}: ok\n" == capsys.readouterr().out
    assert 1 == manager.main(["config", "check", "--from-damocles", str(file), "--write", str(new)])
    assert "exists: choose another file" in capsys.readouterr().err


def test_a_file_that_is_none_of_toml_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its line."""
    file = tmp_path / "sector-manager.cfg"
    file.write_text("[Common\n")
    assert 1 == manager.main(["config", "check", "--from-damocles", str(file)])
    assert f"{file}:1" in capsys.readouterr().err

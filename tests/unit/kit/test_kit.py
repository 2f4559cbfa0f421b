"""What operators install fits the programs that it is for."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from damocles.cli import manager as manager_cli
from damocles.cli import worker as worker_cli
from damocles.kit import __main__ as kit
from damocles.kit import pages

KIT = Path(kit.__file__).parent
METRICS = Path(__file__).parents[2] / "golden/metrics"
RULES = yaml.safe_load((KIT / "monitoring/rules.yml").read_text())["groups"][0]["rules"]
PANELS = json.loads((KIT / "monitoring/grafana.json").read_text())["panels"]
EXPRESSIONS = [rule["expr"] for rule in RULES] + [each["expr"] for panel in PANELS for each in panel["targets"]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a prefix with the kit in it; no test changes it."""
    prefix = tmp_path_factory.mktemp("prefix")
    assert 0 == kit.main([str(prefix), "--bin", "/opt/damocles/bin"])
    return prefix


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_and_label_exists(expression: str) -> None:
    """Rules and panels ask for what the daemons serve, with labels that it has."""
    lines = [line.split() for file in METRICS.glob("*.txt") for line in file.read_text().splitlines()]
    served = {line[0]: set((line[2] if len(line) > 2 else "").split(",")) for line in lines}
    asked = re.findall(r"\b((?:damocles|rpc|process|task)_[a-z_]+)(?:\{([^}]*)\})?", expression)
    assert asked
    for name, labels in asked:
        known = served[name.removesuffix("_bucket") if name not in served else name]
        assert set(re.findall(r"(\w+)\s*=~?", labels)) <= known | {"job", "instance"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian package prometheus)")
def test_prometheus_takes_the_rules() -> None:
    """By its own tool."""
    subprocess.run(["promtool", "check", "rules", str(KIT / "monitoring/rules.yml")], check=True, capture_output=True)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_rule_says_what_to_do(rule: dict[str, dict[str, str]], capsys: pytest.CaptureFixture[str]) -> None:
    """Its commands exist, and so do the pages that it names."""
    action = rule["annotations"]["action"]
    assert action
    for page in re.findall(r"docs/[\w/-]+\.md", action):
        assert (Path(__file__).parents[3] / page).exists()
    for program, words in re.findall(r"damocles-(worker|manager)((?: [a-z]+)+)", action):
        main = worker_cli.main if program == "worker" else manager_cli.main
        assert 0 == main([*words.split(), "--help"])
        assert f"Usage: damocles-{program}{words}" in capsys.readouterr().out


@pytest.mark.parametrize("example", ["worker", "prover", "upgrader", "rebuilder"])
def test_every_worker_s_example_is_accepted(example: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As it stands, once its stores are made by the commands that it names."""
    assert 0 == worker_cli.main(["config", "example", example])
    text = re.sub(r"/mnt/|/var/lib/|/etc/", f"{tmp_path}/", capsys.readouterr().out)
    file = tmp_path / f"{example}.toml"
    file.write_text(text)
    (tmp_path / "damocles").mkdir()
    (tmp_path / "hdd1/unsealed").mkdir(parents=True)
    (tmp_path / "damocles/worker-token").write_text("dmc_0123456789abcdef")
    (tmp_path / "damocles/worker-token").chmod(0o600)
    for kind, word in (("nvme1/store", "sealing-init"), ("hdd1/persist", "file-init")):
        for location in sorted(set(re.findall(rf'location = "({tmp_path}/{kind}\w*)"', text))):
            Path(location).parent.mkdir(exist_ok=True, parents=True)
            assert 0 == worker_cli.main(["store", word, "--loc", location])
    capsys.readouterr()
    assert 0 == worker_cli.main(["config", "check", "--strict", str(file)]), capsys.readouterr()
    assert "warning" not in capsys.readouterr().err


def test_the_manager_s_example_is_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And it is the only one that is no worker's; what prints it prints the file that is installed, whose store has to be made."""
    assert {"manager", "worker", "prover", "upgrader", "rebuilder"} == {path.stem for path in KIT.glob("examples/*")}
    assert 0 == manager_cli.main(["config", "example"])
    file = tmp_path / "manager.toml"
    file.write_text(capsys.readouterr().out)
    assert file.read_text() == (KIT / "examples/manager.toml").read_text()
    file.write_text(file.read_text().replace("/mnt/", f"{tmp_path}/"))
    assert 1 == manager_cli.main(["config", "check", str(file)])
    made = re.search(r"`damocles-worker (store file-init --loc \S+)`", capsys.readouterr().err)
    assert made is not None
    assert 0 == worker_cli.main(made[1].split())
    assert 0 == manager_cli.main(["config", "check", str(file)]), capsys.readouterr()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("unit", sorted(KIT.glob("systemd/*.service")), ids=lambda path: path.name)
def test_systemd_takes_the_units(unit: Path, tmp_path: Path) -> None:
    """No key is unknown, and nothing is left open that need not be."""
    copy = tmp_path / unit.name
    copy.write_text(re.sub(r"/usr/local/bin/\S+", "/bin/true", unit.read_text()).replace("man:", "file:/"))
    found = subprocess.run(["systemd-analyze", "verify", str(copy)], check=False, capture_output=True, text=True)
    assert "" == "".join(line for line in found.stderr.splitlines(keepends=True) if unit.name in line)


def test_units_start_the_installed_programs(installed: Path) -> None:
    """Wherever they are."""
    for name in ("damocles-worker", "damocles-manager"):
        text = (installed / f"lib/systemd/system/{name}.service").read_text()
        assert f"ExecStart=/opt/damocles/bin/{name} daemon --config " in text
        assert "/usr/local/bin" not in text


@pytest.mark.parametrize(
    ("program", "typed", "offered"),
    [
        ("damocles-worker", "damocles-worker wor", "worker"),
        ("damocles-worker", "damocles-worker worker res", "resume"),
        ("damocles-manager", "damocles-manager util worker li", "list"),
    ],
)
def test_bash_completes(installed: Path, program: str, typed: str, offered: str) -> None:
    """A word that has begun is finished, of a subcommand too."""
    words = typed.split()
    script = (
        f"source {installed}/share/bash-completion/completions/{program}\n"
        f"COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; COMP_LINE='{typed}'; COMP_POINT={len(typed)}\n"
        f'"$(complete -p {program} | sed "s/.*-F \\([^ ]*\\).*/\\1/")" {program} {words[-1]} {words[-2]}\n'
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True)
    assert offered in done.stdout.split()


@pytest.mark.parametrize("module", [worker_cli, manager_cli], ids=lambda module: module.PROGRAM)
def test_pages_have_every_command_and_no_switch_that_is_none(module: object, installed: Path) -> None:
    """The reference and the manual page come from the parser; both name the same commands."""
    program = module.PROGRAM  # type: ignore[attr-defined]
    reference = pages.reference(module.parser())  # type: ignore[attr-defined]
    manual = (installed / f"share/man/man1/{program}.1").read_text()
    commands = re.findall(rf"^#+ {program} ([a-z -]+)$", reference, re.MULTILINE)
    assert len(commands) > 15
    assert {name.split()[-1] for name in commands} <= set(re.findall(r"[a-z-]+", manual.replace("\\-", "-")))
    assert "--no-" not in reference
    assert "--empty-" not in manual.replace("\\-", "-")


def test_a_prefix_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """And no traceback."""
    (tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, "-m", "damocles.kit", str(tmp_path / "file/prefix")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (1, 1) == (done.returncode, len(done.stderr.splitlines()))
    assert "Not a directory" in done.stderr

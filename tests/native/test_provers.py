"""Our prover and generator beside the library's, on the real circuits.

Each proof is made in a process of its own, since the library maps a parameter file once for all.
"""

import os
import subprocess
import sys
import threading
from pathlib import Path

import damocles_proofs as proofs
import pytest

PROVE = """
import sys
import damocles_proofs as proofs

WHO = bytes([0xE8, 0x07]).ljust(32, b"\\0")
RANDOMNESS = bytes([9]) * 32

def post(kind, sealed, cache, comm_r):
    made, verified, name = {
        "wdpost": (proofs.generate_window_post, proofs.verify_window_post, "StackedDrgWindow2KiBV1_2"),
        "winning": (proofs.generate_winning_post, proofs.verify_winning_post, "StackedDrgWinning2KiBV1"),
    }[kind]
    proof = made(name, RANDOMNESS, [proofs.PrivateReplica(1, comm_r, cache, sealed)], WHO)
    return verified(name, RANDOMNESS, proof, [proofs.PublicReplica(1, comm_r)], WHO)

try:
    print(post(sys.argv[1], sys.argv[2], sys.argv[3], bytes.fromhex(sys.argv[4])))
except proofs.ProofsError as error:
    print(error)
"""


@pytest.fixture
def sector(new_sector) -> tuple[str, str, str]:
    """Return a sealed sector as the program above takes it."""
    made = new_sector(payload=b"data")
    comm_r = made.pc2(made.pc1()).comm_r
    return str(made.sealed), str(made.cache), comm_r.hex()


def prove(kind: str, sector: tuple[str, str, str], **environment: str) -> str:
    """Prove a PoSt and verify it; return what came of it."""
    command = [sys.executable, "-c", PROVE, kind, *sector]
    done = subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def lists(key: bytearray, kind: str) -> int:
    """Return where the lists of points of a parameter file begin: behind its verifying key."""
    assert kind == "wdpost"
    return 3 * 96 + 3 * 192 + 4 + int.from_bytes(key[864:868], "big") * 96


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["wdpost", "winning"])
@pytest.mark.parametrize("generator", ["damocles", "bellperson"])
def test_each_prover_takes_parameters_of_each_generator(sector, tmp_path: Path, kind: str, generator: str):
    """Proofs of both provers, with and without wide instructions, verify with parameters of both generators."""
    program = f"import damocles_proofs as p; p.generate_params('{kind}', 2048, generator='{generator}')"
    cache = {"FIL_PROOFS_PARAMETER_CACHE": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env={**os.environ, **cache}, check=True)
    for prover in ("damocles", "portable", "bellperson"):
        assert prove(kind, sector, DAMOCLES_PROVER=prover, **cache) == "True"


@pytest.mark.params("porep")
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_librarys_prover_takes_our_parameters_for_c2(new_sector, monkeypatch):
    """A C2 by the library's prover, with parameters that our generator made, verifies."""
    sector = new_sector()
    pc2 = sector.pc2(sector.pc1())
    monkeypatch.setenv("DAMOCLES_PROVER", "bellperson")
    who, ticket, seed = bytes([0xE8, 0x07]).ljust(32, b"\0"), bytes([1]) * 32, bytes([2]) * 32

    proof = proofs.c2(sector.c1(pc2), who, sector.number)

    assert proofs.verify_seal(sector.proof, pc2.comm_r, pc2.comm_d, who, sector.number, ticket, seed, proof)


@pytest.fixture
def damaged(tmp_path: Path):
    """Return a function that writes the window PoSt's parameters, changed, into a cache of their own."""
    names = proofs.params_for("wdpost", 2048)
    source = Path(proofs.parameter_cache_dir())

    def write(change) -> dict[str, str]:
        for name in (names.vk, names.meta):
            (tmp_path / name).write_bytes((source / name).read_bytes())
        (tmp_path / names.params).write_bytes(change(bytearray((source / names.params).read_bytes())))
        return {"FIL_PROOFS_PARAMETER_CACHE": str(tmp_path)}

    return write


@pytest.mark.params("wdpost")
@pytest.mark.parametrize("place", [0.001, 0.3, 0.5, 0.7, 0.999])
def test_a_damaged_parameter_file_proves_nothing(sector, damaged, place: float):
    """A flipped bit in any list of points is an error that names the file and the point, and no proof is handed out."""

    def flip(data: bytearray) -> bytearray:
        start = lists(data, "wdpost") + 4
        # Rounded to the middle of a coordinate: neither a length nor a sign.
        data[start + int((len(data) - start) * place) // 96 * 96 + 40] ^= 1
        return data

    answer = prove("wdpost", sector, **damaged(flip))

    # A point whose scalar is zero is not used, and then the proof is right.
    assert answer == "True" or ("is damaged, fetch or generate it again" in answer and "is not on the curve" in answer)
    if place in {0.3, 0.7}:
        assert answer != "True"


@pytest.mark.params("wdpost")
def test_a_cut_parameter_file_is_named(sector, damaged):
    """A file that lacks its end is refused before anything is proved."""
    assert "is not a whole parameter file" in prove("wdpost", sector, **damaged(lambda data: data[:-1]))
    assert "is not a whole parameter file" in prove("wdpost", sector, **damaged(lambda data: data[: len(data) // 2]))
    assert "is not a whole parameter file" in prove("wdpost", sector, **damaged(lambda data: data[:100]))


@pytest.mark.params("wdpost")
def test_a_file_that_is_replaced_is_mapped_anew(new_sector, tmp_path: Path, monkeypatch):
    """A process proves with the file that lies there now, not with the one that it mapped first."""
    program = f"""{PROVE.split("try:", maxsplit=1)[0]}
import os, shutil
from pathlib import Path
names, cache = proofs.params_for("wdpost", 2048), Path(proofs.parameter_cache_dir())
arguments = ("wdpost", sys.argv[2], sys.argv[3], bytes.fromhex(sys.argv[4]))
print(post(*arguments))
whole = (cache / names.params).read_bytes()
(cache / "cut").write_bytes(whole[:-1])
os.replace(cache / "cut", cache / names.params)
try:
    post(*arguments)
except proofs.ProofsError as error:
    print("whole parameter file" in str(error))
(cache / "whole").write_bytes(whole)
os.replace(cache / "whole", cache / names.params)
print(post(*arguments))
"""
    names, source = proofs.params_for("wdpost", 2048), Path(proofs.parameter_cache_dir())
    for name in (names.params, names.vk, names.meta):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    made = new_sector()
    comm_r = made.pc2(made.pc1()).comm_r
    command = [sys.executable, "-c", program, "", str(made.sealed), str(made.cache), comm_r.hex()]
    env = {**os.environ, "FIL_PROOFS_PARAMETER_CACHE": str(tmp_path)}
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True", "True"]


@pytest.mark.params("wdpost")
def test_an_unknown_prover_is_an_error(sector):
    """The variable's name and its values are said."""
    answer = prove("wdpost", sector, DAMOCLES_PROVER="fast")
    assert answer == "DAMOCLES_PROVER: unknown prover fast, expected damocles, portable or bellperson"


@pytest.mark.params("wdpost")
def test_vanilla_proofs_in_any_order_make_a_proof_that_verifies(new_sector):
    """Vanilla proofs are taken in the order of their sectors; one that comes twice is an error."""
    name, who, randomness = "StackedDrgWindow2KiBV1_2", bytes(32), bytes([9]) * 32
    replicas = []
    for number in (3, 5, 8):
        made = new_sector(number=number)
        replicas.append(made.private(made.pc2(made.pc1()).comm_r))
    challenges = proofs.generate_fallback_sector_challenges(name, randomness, [3, 5, 8], who)
    vanilla = [proofs.generate_single_vanilla_proof(name, one, challenges[one.sector_id]) for one in replicas]

    proof = proofs.generate_window_post_with_vanilla(name, randomness, who, [vanilla[2], vanilla[0], vanilla[1]])

    public = [proofs.PublicReplica(one.sector_id, one.comm_r) for one in replicas]
    assert proofs.verify_window_post(name, randomness, proof, public, who)
    with pytest.raises(proofs.ProofsError, match="the vanilla proof of sector 5 comes twice"):
        proofs.generate_window_post_with_vanilla(name, randomness, who, [vanilla[1], vanilla[1]])


@pytest.mark.params("wdpost")
def test_threads_follow_the_cores_of_the_process(sector):
    """A process that may use one core proves with one thread, whatever the machine has; the number can be set."""
    program = PROVE + '\nimport os\nprint(len(os.listdir("/proc/self/task")))'

    def threads(before: str = "", **environment: str) -> int:
        command = [sys.executable, "-c", before + program, "wdpost", *sector]
        env = {**os.environ, **environment}
        done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
        proved, count = done.stdout.split()
        assert proved == "True"
        return int(count)

    one_core = "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    one = threads(one_core)
    assert threads(one_core, RAYON_NUM_THREADS="5") == one + 4
    if len(os.sched_getaffinity(0)) > 1:
        assert threads() > one


@pytest.mark.params("wdpost")
def test_two_threads_prove_at_once(new_sector):
    """Calls of several threads share the mapped file and do not disturb each other."""
    name, who, randomness = "StackedDrgWindow2KiBV1_2", bytes(32), bytes([9]) * 32
    made = new_sector()
    replica = made.private(made.pc2(made.pc1()).comm_r)
    results = []

    def run() -> None:
        proof = proofs.generate_window_post(name, randomness, [replica], who)
        public = [proofs.PublicReplica(1, replica.comm_r)]
        results.append(proofs.verify_window_post(name, randomness, proof, public, who))

    runners = [threading.Thread(target=run) for _ in range(3)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    assert results == [True] * 3


@pytest.mark.params("wdpost")
@pytest.mark.parametrize("name", ["StackedDrgWindow2KiBV1", "StackedDrgWindow2KiBV1_2"])
def test_partitions_that_are_proved_one_by_one_make_the_whole(new_sector, name: str):
    """A later partition verifies on its own, also where challenges depend on a sector's position among all."""
    who, randomness = bytes(32), bytes([9]) * 32
    replicas = []
    for number in (3, 5, 8):
        made = new_sector(number=number)
        replicas.append(made.private(made.pc2(made.pc1()).comm_r))
    challenges = proofs.generate_fallback_sector_challenges(name, randomness, [3, 5, 8], who)
    vanilla = [proofs.generate_single_vanilla_proof(name, one, challenges[one.sector_id]) for one in replicas]

    parts = [
        proofs.generate_single_window_post_with_vanilla(name, randomness, who, vanilla[:2], 0),
        proofs.generate_single_window_post_with_vanilla(name, randomness, who, vanilla[2:], 1),
    ]

    whole = proofs.merge_window_post_partition_proofs(name, parts)
    public = [proofs.PublicReplica(one.sector_id, one.comm_r) for one in replicas]
    assert proofs.verify_window_post(name, randomness, whole, public, who)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_set_that_is_made_anew_has_a_key_of_its_own(sector, tmp_path: Path):
    """The verifying key of a set whose large file was removed goes with it: what is proved then verifies."""
    cache = {"FIL_PROOFS_PARAMETER_CACHE": str(tmp_path)}
    program = "import damocles_proofs as p; print(p.generate_params('wdpost', 2048).params)"
    for _ in range(2):
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env={**os.environ, **cache}, check=True, capture_output=True, text=True)
        assert prove("wdpost", sector, **cache) == "True"
        (tmp_path / done.stdout.strip()).unlink()

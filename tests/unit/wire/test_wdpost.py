"""Window PoSt jobs on the wire, as damocles v0.13 writes them."""

import pytest

from damocles.wire import codec, wdpost

ZEROS = "[" + ",".join("0" * 32) + "]"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (
            wdpost.AllocateSpec([10000], ["StackedDrgWindow2KiBV1_2"]),
            '{"AllowedMiners":[10000],"AllowedProofTypes":["StackedDrgWindow2KiBV1_2"]}',
        ),
        (
            wdpost.Job(
                "a",
                wdpost.Input(
                    [wdpost.Sector(1, codec.Bytes32(bytes(32)), True, wdpost.Accesses("s", "c"))],
                    10000,
                    "StackedDrgWindow2KiBV1_2",
                    codec.Bytes32(bytes(32)),
                ),
            ),
            f'{{"Id":"a","Input":{{"Sectors":[{{"SectorId":1,"CommR":{ZEROS},"Upgrade":true,"Accesses":'
            f'{{"SealedFile":"s","CacheDir":"c"}}}}],"MinerId":10000,"ProofType":"StackedDrgWindow2KiBV1_2",'
            f'"Seed":{ZEROS}}}}}',
        ),
        (wdpost.Output([b"p"], []), '{"proofs":["cA=="],"faults":[]}'),
        (wdpost.Output([], [3], {"3": "gone"}), '{"proofs":[],"faults":[3],"reasons":{"3":"gone"}}'),
        (wdpost.Output(None, None), '{"proofs":null,"faults":null}'),
    ],
)
def test_window_posts_have_the_original_s_keys(value, text):
    """Keys are Go's with a small d, commitments arrays of numbers, proofs base64; reasons are ours."""
    assert text.encode() == codec.encode(value)
    assert value == codec.decode(text, type(value))


def test_a_listed_window_post_has_all_keys():
    """Lists carry counts in place of sectors and proofs."""
    brief = wdpost.Brief(
        id="a",
        deadline=1,
        partitions=[0],
        input=wdpost.Input(None, 10000, "", codec.Bytes32(bytes(32))),
        output=wdpost.Output(None, None),
        created_at=5,
        updated_at=6,
        sectors=2,
        faults=0,
    )
    assert (
        f'{{"Id":"a","State":"ready2run","DeadlineIdx":1,"Partitions":[0],"Input":{{"Sectors":null,"MinerId":10000,'
        f'"ProofType":"","Seed":{ZEROS}}},"Output":{{"proofs":null,"faults":null}},"TryNum":0,"ErrorReason":"",'
        '"WorkerName":"","StartedAt":0,"HeartbeatAt":0,"FinishedAt":0,"CreatedAt":5,"UpdatedAt":6,"Sectors":2,"Faults":0}'
    ).encode() == codec.encode(brief)

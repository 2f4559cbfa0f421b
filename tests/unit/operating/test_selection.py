"""Which threads a selection means."""

from typing import Any

import pytest

from damocles.operating import selection
from damocles.sealing.states import State
from damocles.wire import control
from damocles.wire.fleet import ThreadInfo, ThreadState


def thread(**changes) -> control.ThreadDetail:
    """Make thread 1 of gpu-1, which is paused at C1Done for want of parameters."""
    values: dict[str, Any] = {
        "location": "/store1",
        "plan": "sealer",
        "job_id": "s-t010000-2",
        "index": 1,
        "thread_state": ThreadState("Paused", 17),
        "job_state": "C1Done",
        "job_stage": "C2",
        "last_error": "permanent: No cached parameters found for stacked-proof",
    }
    return control.ThreadDetail(info=ThreadInfo(**values | changes), worker="gpu-1", dest="10.0.0.7:17890", since=0.0)


STATES = ", ".join(State.__members__)


@pytest.mark.parametrize(
    "flags",
    [
        {"everything": True},
        {"indexes": ["1"]},
        {"indexes": ["0,1"]},
        {"indexes": ["0-3"]},
        {"sectors": ["s-t010000-2"]},
        {"sectors": ["s-t010000-1", "s-f010000-2"]},
        {"states": ["PC1Done", "C1Done"]},
        {"plans": ["sealer"]},
        {"error": "no cached PARAMETERS"},
        {"paused": True},
        {"workers": ["gpu-*"], "paused": True},
        {"workers": ["10.0.0.7:17890"], "everything": True},
        {"workers": ["10.0.0.*"], "states": ["C1Done"], "error": "parameters", "indexes": ["1"]},
    ],
)
def test_what_is_given_holds(flags):
    """A thread is selected if all that is given holds for it."""
    assert selection.selected(selection.parse(**flags), [thread()])


@pytest.mark.parametrize(
    "flags",
    [
        {"indexes": ["0"]},
        {"sectors": ["s-t010000-3"]},
        {"states": ["C1"]},
        {"plans": ["snapup"]},
        {"error": "disk full"},
        {"paused": False},
        {"workers": ["gpu"], "everything": True},
        {"workers": ["gpu-*"], "states": ["PC1Done"]},
        {"everything": True, "error": "disk full"},
    ],
)
def test_what_is_given_must_hold_together(flags):
    """One thing that does not hold leaves the thread out, `all` or not."""
    assert not selection.selected(selection.parse(**flags), [thread()])


@pytest.mark.parametrize("flags", [{}, {"workers": ["gpu-1"]}, {"error": ""}])
def test_nothing_given_is_refused(flags):
    """An empty selection, or a worker's name alone, means no thread; `check` says what to give."""
    chosen = selection.parse(**flags)
    assert not selection.selected(chosen, [thread()])
    with pytest.raises(selection.NothingSelected, match="or pass --all"):
        selection.check(chosen)


def test_a_thread_without_error_has_no_text_in_it():
    """`--error` never selects a thread that has no error."""
    assert not selection.selected(selection.parse(error="a"), [thread(last_error=None)])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"indexes": ["abc"]}, "'abc' is not a thread's index"),
        ({"indexes": ["-1"]}, "is not a thread's index"),
        ({"indexes": ["3-1"]}, "is not a thread's index"),
        ({"indexes": ["0-999999999"]}, "is not a thread's index"),
        ({"sectors": ["2"]}, "s-t0"),
    ],
)
def test_malformed_texts_are_refused(flags, words):
    """Indexes and sectors that cannot be meant are told with the right form."""
    with pytest.raises(ValueError, match=words):
        selection.parse(**flags)


@pytest.mark.parametrize(
    ("text", "pattern"), [("gpu-*", True), ("gpu-?", True), ("gpu-1", False), ("[fd00::7]:17890", False)]
)
def test_patterns_are_told_from_names(text, pattern):
    """Wildcards make a pattern; brackets of an IPv6 address do not."""
    assert pattern == selection.is_pattern(text)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (["0", "1-2"], None),
        ([], None),
        (["3"], "no thread #3; the worker has #0-#2"),
        (["0-5", "7", "9999"], "no thread #3-#5, #7, #9999; the worker has #0-#2"),
    ],
)
def test_indexes_that_no_thread_has_are_named(asked, text):
    """One line names them all, ranges as such."""
    told = selection.missing(selection.parse(indexes=asked), range(3))
    assert ([] if text is None else [(None, False, text)]) == [(one.index, one.ok, one.text) for one in told]


@pytest.mark.parametrize(
    ("flags", "texts"),
    [
        ({"states": ["C1Done"], "plans": ["sealer"]}, []),
        ({"states": ["C1Don"]}, ['there is no state C1Don; did you mean "C1Done"?']),
        (
            {"states": ["paused", "Paused"]},
            [f"there is no state paused; there are {STATES}", "Paused is what a thread does: use --paused"],
        ),
        ({"plans": ["snapp"]}, ['there is no plan snapp; did you mean "snapup"?']),
    ],
)
def test_words_that_fit_no_thread_are_named(flags, texts):
    """States and plans are closed sets: what is in none of them is told, with what was probably meant."""
    assert texts == selection.unknown_words(selection.parse(**flags))


def test_a_word_that_a_thread_has_is_none_of_them():
    """A newer worker may have states and plans that we do not know."""
    asked = selection.parse(states=["Polished", "C1Don"], plans=["polisher"])
    threads = [thread(job_state="Polished", plan="polisher"), thread()]
    assert ['there is no state C1Don; did you mean "C1Done"?'] == selection.never_seen(asked, threads)
    assert 3 == len(selection.never_seen(asked, [thread()]))

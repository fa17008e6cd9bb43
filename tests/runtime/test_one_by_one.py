"""Bad images are told at the end, the others are done."""

import pytest

from tlw.runtime.one_by_one import OneByOne


def test_all_is_well_where_nothing_fails():
    work, done = OneByOne("counted"), []
    for word in ("1", "2"):
        with work.trying():
            done.append(int(word))
    work.end()
    assert done == [1, 2]


def test_what_fails_is_told_at_the_end_and_the_rest_is_done():
    work, done = OneByOne("counted"), []
    for word in ("1", "x", "3", "y"):
        with work.trying():
            done.append(int(word))
    with pytest.raises(ValueError) as caught:
        work.end("the others stand")
    assert done == [1, 3]
    assert str(caught.value).splitlines() == [
        "invalid literal for int() with base 10: 'x'",
        "invalid literal for int() with base 10: 'y'",
        "2 of 4 images could not be counted; the others stand",
    ]


def test_one_alone_has_its_own_words_and_none_are_left_to_speak_of():
    for words, lines in {"x": 1, "xy": 3}.items():
        work = OneByOne("counted")
        for word in words:
            with work.trying():
                int(word)
        with pytest.raises(ValueError) as caught:
            work.end("the others stand")
        assert len(str(caught.value).splitlines()) == lines and "others" not in str(caught.value)


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, RuntimeError])
def test_an_error_that_may_be_of_all_ends_the_work(error):
    with pytest.raises(error), OneByOne("counted").trying():
        raise error

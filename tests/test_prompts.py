"""Questions to networks of synthetic tasks, and their answers."""

import numpy as np
import pytest

from tlstm_jax.tasks.addition import addition
from tlstm_jax.tasks.memorization import memorization

ADDITION, MEMORIZATION = addition(3), memorization(3, 4)


def test_a_question_in_the_form_of_its_task_is_read():
    assert "".join(ADDITION.alphabet[t] for t in ADDITION.encode("-123-900-----")) == (
        "-123-900-----"
    )
    assert MEMORIZATION.encode("-abc----").tolist() == [4, 0, 1, 2, 4, 4, 4, 4]
    many = memorization(2, 100)
    assert many.encode("-<7><99>---").tolist() == [100, 7, 99, 100, 100, 100]


@pytest.mark.parametrize(
    ("task", "prompt", "message"),
    [
        (ADDITION, "123+900", r"prompt holds '\+'; accepted are 0123456789-"),
        (ADDITION, "123-900-----", "has not the form of addition; accepted is the like of -"),
        (ADDITION, "-123-900", "has not the form of addition; accepted is the like of -"),
        (ADDITION, "-12-9000-----", "has not the form of addition"),
        (ADDITION, "-123-900------", "has not the form of addition"),
        (ADDITION, "-023-900-----", "has a number that begins with 0"),
        (ADDITION, "-123-090-----", "has a number that begins with 0"),
        (MEMORIZATION, "abc", "has not the form of memorization; accepted is the like of -"),
        (MEMORIZATION, "-ab-----", "has not the form of memorization"),
        (MEMORIZATION, "-abz----", "prompt holds 'z'; accepted are abcd-"),
    ],
)
def test_a_malformed_question_is_refused_with_a_good_one(task, prompt, message):
    with pytest.raises(ValueError, match=message) as error:
        task.encode(prompt)
    assert "\n" not in str(error.value)


def test_questions_of_other_sizes_are_questions_too():
    assert ADDITION.of_length(13) == ADDITION
    assert ADDITION.of_length(7).size == 1
    assert ADDITION.of_length(8) is None
    assert len(ADDITION.encode("-1-2---")) == 7


def tokens(task, text):
    return np.array([task.alphabet.index(letter) for letter in text])


def test_an_answer_is_shown_where_it_is_asked_for():
    said = tokens(ADDITION, "12345678" + "1023" + "7")  # chatter, the sum, and what is not blank
    assert ADDITION.answer(said, said) == " " * 8 + "10237"
    said = tokens(ADDITION, "12345678" + "999" + "-" + "7")  # after a blank nothing is asked
    assert ADDITION.answer(said, said) == " " * 8 + "999-"
    said = tokens(MEMORIZATION, "abcd" + "b-a" + "d")
    assert MEMORIZATION.answer(said, said) == " " * 4 + "b-a"

"""Words and their indices, by hand."""

import numpy as np
import pytest

from tfrs_distill.errors import InputError
from tfrs_distill.serving.word_vocabulary import WordVocabulary, split_words

TEXTS = ["The fit is too small.", "Too SMALL, too bad!", "the fit?", "don't"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Love it!! So-so", ["love", "it", "so", "so"]),
        ("DON'T, can’t 'quoted'", ["don't", "can't", "quoted"]),
        ("size 10 (5'8\")", ["size", "10", "5'8"]),
        ("Größe\tÉté\n", ["größe", "été"]),
        (" -- ", []),
        ("", []),
    ],
)
def test_texts_are_split_into_words(text, words):
    assert split_words(text) == words


def test_words_are_ordered_by_frequency_and_then_alphabetically():
    vocabulary = WordVocabulary.from_texts(TEXTS, min_count=2)
    # too 3; fit, small, the 2; is, bad, don't 1
    assert vocabulary.words == ("too", "fit", "small", "the")
    assert vocabulary.num_words == 5
    assert vocabulary.max_words == 128
    assert WordVocabulary.from_texts(TEXTS, min_count=3).words == ("too",)


def test_the_default_minimum_count_is_ten():
    vocabulary = WordVocabulary.from_texts(["often rare"] * 9 + ["often"])
    assert vocabulary.words == ("often",)


def test_texts_become_indices_with_unknown_words_and_padding():
    vocabulary = WordVocabulary(("too", "fit", "small"), max_words=4)
    encoded = vocabulary.encode(["Too small today", "", "fit fit new too small", "!"])
    assert encoded.tolist() == [[2, 4, 1, 0], [0, 0, 0, 0], [3, 3, 1, 2], [0, 0, 0, 0]]
    assert encoded.dtype == np.int32
    assert encoded.max() <= vocabulary.num_words
    assert vocabulary.encode([]).shape == (0, 4)


def test_the_last_word_has_the_largest_index():
    vocabulary = WordVocabulary(("a", "b"), max_words=1)
    assert vocabulary.encode(["b"]).tolist() == [[vocabulary.num_words]]


@pytest.mark.parametrize(
    ("words", "max_words", "message"),
    [
        ((), 4, r"at least one word"),
        (("a",), 0, r"`max_words` must be at least 1\. Received: 0"),
        (("a", "b", "a"), 4, r"must be unique\. Received: 'a' 2 times"),
        (("Big",), 4, r"lower case, without spaces or punctuation\. Received: 'Big'"),
        (("two words",), 4, r"Received: 'two words'"),
        (("",), 4, r"Received: ''"),
    ],
)
def test_words_must_be_as_split_from_a_text(words, max_words, message):
    with pytest.raises(InputError, match=message):
        WordVocabulary(words, max_words)


def test_texts_without_common_words_are_refused():
    with pytest.raises(InputError, match=r"No word occurs 4 times .* 7 words occurs 3 times; give"):
        WordVocabulary.from_texts(TEXTS, min_count=4)
    with pytest.raises(InputError, match=r"most common of 0 words occurs 0 times"):
        WordVocabulary.from_texts([])

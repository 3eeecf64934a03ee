"""Measurements are reused only if everything that determines a file is unchanged."""

import numpy as np

from tfrs_distill.compress.measures import measure_of
from tfrs_distill.data.ranking_examples import RankingExamples
from tfrs_distill.models import Binary, IdFeature, RankingStudent
from tfrs_distill.serving.word_vocabulary import WordVocabulary


def inputs_with(vocabulary):
    student = RankingStudent([IdFeature("shop", 2000, 4, side="query")], [Binary("like")])
    rows = np.arange(4, dtype=np.int32)
    examples = RankingExamples(
        users=rows, queries=rows, features={"shop": rows}, labels={"like": np.float32([0, 1, 0, 1])}
    )
    return measure_of(student, examples, k=10, vocabularies={"shop": vocabulary}).inputs


def test_swapping_two_names_of_a_long_vocabulary_changes_the_files():
    names = [f"shop {number}" for number in range(1600)]
    swapped = [*names]
    swapped[700], swapped[800] = names[800], names[700]
    for make in (np.array, list, tuple):
        assert inputs_with(make(names)) == inputs_with(names) != inputs_with(make(swapped))


def test_words_and_their_maximum_number_determine_a_file():
    words = WordVocabulary(("big", "small"), max_words=4)
    others = [WordVocabulary(("small", "big"), 4), WordVocabulary(("big", "small"), 5)]
    assert inputs_with(words) == inputs_with(WordVocabulary(("big", "small"), 4))
    assert inputs_with(words) not in [inputs_with(other) for other in others]

"""Word pieces against BERT's own tokenizer, and by hand."""

import builtins

import numpy as np
import pytest

from tfrs_distill.errors import InputError
from tfrs_distill.serving.word_pieces import WordPieces

PIECES = ("heat", "toy", "##s", "story", "(", ")", "19", "##95", "un", "##want", "##ed", "é")
TEXTS = [
    "Toys (1995)",
    "  HEAT   heat\tToy!",
    "Amélie: unwanted stories",
    "",
    "it's a 1995 story, isn't it?",
    "電影 toy",
]


@pytest.mark.parametrize("lowercase", [True, False])
def test_texts_are_split_like_by_bert(tmp_path, lowercase):
    from transformers import BertTokenizer  # written in Python: another implementation

    vocabulary = ["[PAD]", "[UNK]", *PIECES, "[CLS]", "[SEP]"]
    (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary))
    bert = BertTokenizer(str(tmp_path / "vocab.txt"), do_lower_case=lowercase)
    ours = WordPieces(PIECES, max_pieces=16, lowercase=lowercase).encode(TEXTS)
    for text, row in zip(TEXTS, ours, strict=True):
        expected = bert.convert_tokens_to_ids(bert.tokenize(text))
        assert row[: len(expected)].tolist() == expected
        assert not row[len(expected) :].any()


def test_long_texts_are_truncated_and_short_ones_padded():
    encoded = WordPieces(PIECES, max_pieces=3).encode(["toy story toys", "toy"])
    assert encoded.tolist() == [[3, 5, 3], [3, 0, 0]]
    assert encoded.dtype == np.int32
    assert WordPieces(PIECES, max_pieces=3).encode([]).shape == (0, 3)


def test_common_pieces_of_a_large_vocabulary_are_kept():
    vocabulary = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", *PIECES]
    texts = ["Toys (1995)", "toy toy story", "heat (1995", "heat heat", "story"]
    # in texts: toy 2, ##s 1, ( 2, ) 1, 19 2, ##95 2, story 2, heat 2; twice in one text is once
    kept = WordPieces.for_texts(vocabulary, texts, max_pieces=8)
    assert kept.pieces == ("heat", "toy", "story", "(", "19", "##95")
    assert (kept.max_pieces, kept.num_pieces) == (8, 7)
    assert WordPieces.for_texts(vocabulary, texts, min_count=1).num_pieces == 9
    # "toys" has no "##s" any more: one unknown word, as is one with other letters
    assert kept.encode(["Toys 1995 unwanted"])[0].tolist() == [1, 6, 7, 1, 0, 0, 0, 0]


def test_the_first_pieces_of_a_vocabulary_are_kept_for_future_texts():
    vocabulary = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", *PIECES]
    kept = WordPieces.for_texts(vocabulary, ["story (1995)"], min_count=1, num_first=2)
    assert kept.pieces == ("heat", "toy", "story", "(", ")", "19", "##95")


def test_texts_without_common_pieces_are_refused():
    with pytest.raises(InputError, match=r"No word piece is in 2 of the 2 texts"):
        WordPieces.for_texts(PIECES, ["toy", "heat"])


@pytest.mark.parametrize(
    ("pieces", "max_pieces", "message"),
    [
        ((), 4, r"at least one word piece"),
        (("a",), 0, r"`max_pieces` must be at least 1\. Received: 0"),
        (("a", "b", "a"), 4, r"must be unique\. Received: 'a' 2 times"),
        (("a", "[UNK]"), 4, r"must be unique\. Received: '\[UNK\]' 2 times"),
        (("a", " "), 4, r"must not be empty\. Received: ' '"),
    ],
)
def test_an_invalid_vocabulary_is_refused(pieces, max_pieces, message):
    with pytest.raises(InputError, match=message):
        WordPieces(pieces, max_pieces)


def test_without_tokenizers_the_error_names_the_package(monkeypatch):
    whole_import = builtins.__import__

    def importing(name, *args, **kwargs):
        if name == "tokenizers":
            raise ImportError(name)
        return whole_import(name, *args, **kwargs)

    pieces = WordPieces(PIECES)  # not needed yet
    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(InputError, match=r"pip install tokenizers"):
        pieces.encode(["toy"])

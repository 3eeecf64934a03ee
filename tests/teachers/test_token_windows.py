"""Windows of token ids against wordpieces found by hand, complete and padded."""

import dataclasses

import numpy as np
import pytest
from tiny_bert import wordpieces

from tfrs_distill.teachers.bert import token_windows as module
from tfrs_distill.teachers.bert.token_windows import check_long_texts, token_windows

TEXTS = ["king 1 2 3 4 5 6 7 8", "", "galaxy", "1 2 3 4 5 6", "rocket 1 2 3 4"]


@pytest.fixture(scope="module")
def tokenizer(tiny_bert):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_bert[0])


@pytest.fixture(scope="module")
def pieces(tiny_bert):
    return [wordpieces(tiny_bert[0], text) for text in TEXTS]


def windows_of(tokens):
    return [tokens.ids[s : s + n].tolist() for s, n in zip(tokens.starts, tokens.lengths)]


@pytest.mark.parametrize("texts_at_once", [1, 2, 4096])
def test_cut_keeps_the_first_window(tokenizer, pieces, monkeypatch, texts_at_once):
    monkeypatch.setattr(module, "TEXTS_AT_ONCE", texts_at_once)
    tokens = token_windows(tokenizer, TEXTS, max_length=8, long_texts="cut")
    expected = [p if len(p) <= 8 else [*p[:7], p[-1]] for p in pieces]
    assert windows_of(tokens) == expected
    assert tokens.texts.tolist() == [0, 1, 2, 3, 4]
    assert tokens.ids.dtype == np.int32


@pytest.mark.parametrize("texts_at_once", [1, 2, 4096])
def test_windows_hold_every_wordpiece_once(tokenizer, pieces, monkeypatch, texts_at_once):
    monkeypatch.setattr(module, "TEXTS_AT_ONCE", texts_at_once)
    tokens = token_windows(tokenizer, TEXTS, max_length=6, long_texts="windows")
    expected, texts = [], []
    for text, (first, *content, last) in enumerate(pieces):
        for start in range(0, max(len(content), 1), 4):
            expected.append([first, *content[start : start + 4], last])
            texts.append(text)
    assert windows_of(tokens) == expected
    assert tokens.texts.tolist() == texts == [0, 0, 0, 1, 2, 3, 3, 4, 4]


def test_padding_is_at_the_end_and_masked(tokenizer, pieces):
    tokens = token_windows(tokenizer, TEXTS, max_length=64, long_texts="cut")
    chosen = np.array([2, 0, 1])
    tokens = dataclasses.replace(tokens, pad_id=77)
    for multiple_of, width in ((1, len(pieces[0])), (16, 16)):
        ids, mask = tokens.padded(chosen, multiple_of=multiple_of)
        assert ids.dtype == mask.dtype == np.int32
        assert ids.tolist() == [pieces[i] + [77] * (width - len(pieces[i])) for i in chosen]
        assert mask.sum(axis=1).tolist() == [len(pieces[i]) for i in chosen]
        assert (np.diff(mask, axis=1) <= 0).all()


def test_no_texts_have_no_windows(tokenizer):
    tokens = token_windows(tokenizer, [], max_length=8, long_texts="windows")
    assert tokens.ids.shape == tokens.starts.shape == tokens.lengths.shape == (0,)
    assert tokens.padded(np.zeros(0, int))[0].shape == (0, 0)


def test_one_string_is_not_a_sequence_of_texts(tokenizer):
    with pytest.raises(ValueError, match=r"must be a sequence of strings\. Received: texts='film'"):
        token_windows(tokenizer, "film", max_length=8, long_texts="cut")


def test_an_invalid_choice_is_refused():
    with pytest.raises(
        ValueError, match=r"must be 'cut' or 'windows'\. Received: long_texts='all'"
    ):
        check_long_texts("all")

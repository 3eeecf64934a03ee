"""Domain pre-training of a tiny BERT: masks, the head, perplexity by hand, learning."""

import math

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from other_families import with_model
from tiny_bert import bert_in_numpy, wordpieces, write_tiny_bert

from tfrs_distill.errors import InputError
from tfrs_distill.teachers.bert.masked_language_head import MaskedLanguageHead
from tfrs_distill.teachers.bert.masked_language_model import (
    mask_tokens,
    pretrain_masked_language_model,
)
from tfrs_distill.teachers.bert.parameter_efficient import LoRA
from tfrs_distill.teachers.bert.pseudo_perplexity import pseudo_perplexity
from tfrs_distill.teachers.bert.text_encoder import TextEncoder

PAIRS = (("galaxy", "space"), ("wedding", "love"), ("saloon", "cowboy"), ("king", "sword"))
TEXTS = ("galaxy space 7", "a wedding and", "kiss")


def with_head(folder, *, old_names=False):
    """A tiny BERT with its own masked-language head, and all weights."""
    weights = write_tiny_bert(folder)
    random = np.random.default_rng(7)
    vocabulary = len(weights["embeddings.word_embeddings.weight"])
    ending = (
        {"weight": "gamma", "bias": "beta"} if old_names else {"weight": "weight", "bias": "bias"}
    )
    head = {
        "cls.predictions.transform.dense.weight": random.normal(size=(16, 16)),
        "cls.predictions.transform.dense.bias": random.normal(size=16),
        f"cls.predictions.transform.LayerNorm.{ending['weight']}": random.normal(size=16),
        f"cls.predictions.transform.LayerNorm.{ending['bias']}": random.normal(size=16),
        "cls.predictions.bias": random.normal(size=vocabulary),
    }
    weights = weights | {name: w.astype(np.float32) for name, w in head.items()}
    metadata = {"format": "pt"}
    safetensors.numpy.save_file(weights, folder / "model.safetensors", metadata=metadata)
    return weights


def log_probabilities(weights, hidden, ending=("weight", "bias")):
    """The head in float64: [num_tokens, 16] to [num_tokens, vocabulary]."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    name = "cls.predictions.transform"
    inner = hidden @ w[f"{name}.dense.weight"].T + w[f"{name}.dense.bias"]
    inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
    inner -= inner.mean(axis=-1, keepdims=True)
    inner /= np.sqrt((inner**2).mean(axis=-1, keepdims=True) + 1e-12)
    inner = inner * w[f"{name}.LayerNorm.{ending[0]}"] + w[f"{name}.LayerNorm.{ending[1]}"]
    logits = inner @ w["embeddings.word_embeddings.weight"].T + w["cls.predictions.bias"]
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def perplexity_in_numpy(folder, weights, texts):
    """Every token masked in turn, by a loop."""
    found = []
    for text in texts:
        ids = wordpieces(folder, text)
        for place in range(1, len(ids) - 1):
            masked = [*ids[:place], 4, *ids[place + 1 :]]  # 4 is [MASK]
            hidden = bert_in_numpy(weights, masked)[place : place + 1]
            found.append(log_probabilities(weights, hidden)[0, ids[place]])
    return np.exp(-np.mean(found)), len(found)


@pytest.mark.nightly
def test_pseudo_perplexity_is_that_of_a_loop_by_hand(tmp_path):
    weights = with_head(tmp_path)
    encoder = TextEncoder(tmp_path)
    head = MaskedLanguageHead(encoder, np.zeros(0, int), seed=0)
    assert not head.is_fresh
    expected, num_tokens = perplexity_in_numpy(tmp_path, weights, TEXTS)
    assert num_tokens == 9  # "and" is a, ##n, ##d
    for chunk_size in (3, 64):
        found = pseudo_perplexity(encoder, head, TEXTS, chunk_size=chunk_size)
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert pseudo_perplexity(encoder, head, TEXTS, max_tokens=9) == found
    one = pseudo_perplexity(encoder, head, TEXTS, max_tokens=1)
    singles = [perplexity_in_numpy(tmp_path, weights, [text])[0] for text in TEXTS]
    assert abs(one / expected - 1) > 1e-3 and len(singles) == 3
    np.testing.assert_allclose(pseudo_perplexity(encoder, head, TEXTS[2:]), singles[2], rtol=1e-4)


def test_an_older_files_names_of_the_head_are_read(tmp_path):
    weights = with_head(tmp_path, old_names=True)
    head = MaskedLanguageHead(TextEncoder(tmp_path), np.zeros(0, int), seed=0)
    assert not head.is_fresh
    hidden = np.random.default_rng(0).normal(size=(3, 16))
    found = tf.nn.log_softmax(head.logits(tf.constant(hidden, tf.float32)))
    expected = log_probabilities(weights, hidden, ("gamma", "beta"))
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    "dense, norm, bias",
    [
        ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias"),
        ("vocab_transform", "vocab_layer_norm", "vocab_projector.bias"),
    ],
)
def test_heads_of_other_families_are_found_by_their_names(tmp_path, dense, norm, bias):
    weights = with_head(tmp_path)
    renamed = {
        name.replace("cls.predictions.transform.dense", dense)
        .replace("cls.predictions.transform.LayerNorm", norm)
        .replace("cls.predictions.bias", bias): weight
        for name, weight in weights.items()
    }
    safetensors.numpy.save_file(renamed, tmp_path / "model.safetensors", metadata={"format": "pt"})
    head = MaskedLanguageHead(TextEncoder(tmp_path), np.zeros(0, int), seed=0)
    hidden = np.random.default_rng(0).normal(size=(3, 16))
    found = tf.nn.log_softmax(head.logits(tf.constant(hidden, tf.float32)))
    np.testing.assert_allclose(found, log_probabilities(weights, hidden), atol=1e-4)


def test_a_new_head_starts_at_token_frequencies(tiny_bert):
    encoder = TextEncoder(tiny_bert[0])
    head = MaskedLanguageHead(encoder, np.array([[7, 7, 7], [9, 2, 2]]), seed=0)
    vocabulary = encoder.model.config.vocab_size
    counts = np.ones(vocabulary)
    counts[[7, 9, 2]] += [3, 1, 2]
    assert head.is_fresh
    np.testing.assert_allclose(np.exp(head.bias), counts / (6 + vocabulary), rtol=1e-5)
    assert head.words is encoder.model.bert.embeddings.weight
    assert not any(variable is head.words for variable in head.head_variables)
    assert len(head.head_variables) == 5


def masked(mask_share=0.15, num_texts=400, length=50):
    random = np.random.default_rng(3)
    input_ids = random.integers(5, 80, size=(num_texts, length)).astype(np.int32)
    maskable = random.random(input_ids.shape) < 0.7
    read, guessed = mask_tokens(
        input_ids,
        maskable,
        mask_share=mask_share,
        mask_id=4,
        vocabulary_size=1000,
        generator=np.random.default_rng(0),
    )
    return input_ids, maskable, read, guessed


def test_masks_follow_the_shares():
    input_ids, maskable, read, guessed = masked()
    # 14,000 tokens can be masked, 2,100 are; four standard deviations are .012 and .035.
    assert abs(guessed[maskable].mean() - 0.15) < 0.012
    now_mask, kept = read[guessed] == 4, read[guessed] == input_ids[guessed]
    assert abs(now_mask.mean() - 0.8) < 0.035 and abs(kept.mean() - 0.1) < 0.03
    drawn = read[guessed][~now_mask & ~kept]
    assert abs(len(drawn) / guessed.sum() - 0.1) < 0.03
    assert drawn.min() < 100 and 900 < drawn.max() < 1000  # of all the vocabulary
    assert abs(masked(mask_share=0.5)[3].sum() / maskable.sum() - 0.5) < 0.02


def test_special_tokens_and_padding_are_never_masked():
    input_ids, maskable, read, guessed = masked()
    assert not guessed[~maskable].any()
    np.testing.assert_array_equal(read[~guessed], input_ids[~guessed])
    assert read.dtype == np.int32


def test_at_least_one_token_is_masked():
    input_ids, maskable, read, guessed = masked(mask_share=1e-9, num_texts=2, length=9)
    assert guessed.sum() == 1 and maskable[guessed].all()


def planted(num_texts=160):
    """Texts of pairs of words: each word determines the other."""
    random = np.random.default_rng(0)
    return [
        " ".join(word for pair in random.integers(4, size=4) for word in PAIRS[pair])
        for _ in range(num_texts)
    ]


@pytest.mark.nightly
def test_it_learns_which_words_go_together(tmp_path):
    write_tiny_bert(tmp_path, scale=0.1)
    encoder, steps = TextEncoder(tmp_path), []
    before = [v.numpy() for v in encoder.model.trainable_variables if "pooler" not in v.name]
    texts = planted()
    done = pretrain_masked_language_model(
        encoder,
        texts,
        num_steps=120,
        batch_size=32,
        learning_rate=5e-3,
        held_out_share=0.1,
        max_scored_tokens=200,
        advance=steps.append,
    )
    assert len(done.losses) == len(done.head_losses) == 120 and steps == [1] * 120
    different = len(set(texts))
    assert done.num_held_out == round(0.1 * different)
    assert done.num_texts == different - done.num_held_out and done.head_was_fresh
    # Eight words, equally frequent: a head that cannot read guesses 1 of 8. With the pairs known it
    # is between 1 (the position tells which half of the pair it is) and 4 (it does not).
    assert 6.5 < done.pseudo_perplexity_before < 12
    assert done.pseudo_perplexity_after < 4
    after = [v.numpy() for v in encoder.model.trainable_variables if "pooler" not in v.name]
    for old, new in zip(before, after):
        assert not np.array_equal(old, new)
    vectors = encoder.encode(["galaxy space", "love"])
    assert np.isfinite(vectors).all()


@pytest.fixture
def eagerly():
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def test_a_checkpoints_head_is_measured_before_any_step(tmp_path, eagerly, monkeypatch):
    weights = with_head(tmp_path)
    encoder = TextEncoder(tmp_path)
    scored = []
    from tfrs_distill.teachers.bert import masked_language_model

    def watched(encoder, head, texts, **arguments):
        scored.append(list(texts))
        return pseudo_perplexity(encoder, head, texts, **arguments)

    monkeypatch.setattr(masked_language_model, "pseudo_perplexity", watched)
    texts = [*TEXTS, *TEXTS, "bride", "king 1"]
    done = pretrain_masked_language_model(encoder, texts, num_steps=2, held_out_share=0.4)
    assert done.head_losses == [] and not done.head_was_fresh
    assert scored[0] == scored[1] and len(set(scored[0])) == done.num_held_out == 2
    assert done.num_texts == 3  # five different ones
    expected, _ = perplexity_in_numpy(tmp_path, weights, scored[0])
    np.testing.assert_allclose(done.pseudo_perplexity_before, expected, rtol=1e-4)
    assert done.pseudo_perplexity_after != done.pseudo_perplexity_before


def test_a_new_head_trains_alone_first(tmp_path, eagerly, monkeypatch):
    write_tiny_bert(tmp_path)
    encoder, seen = TextEncoder(tmp_path), []
    from tfrs_distill.teachers.bert import masked_language_model

    def watched(encoder, head, texts, **arguments):
        weights = [v.numpy() for v in encoder.model.trainable_variables]
        seen.append((weights, head.dense.kernel.numpy()))
        return 1.0

    monkeypatch.setattr(masked_language_model, "pseudo_perplexity", watched)
    before = [v.numpy() for v in encoder.model.trainable_variables]
    fresh = MaskedLanguageHead(encoder, np.zeros(0, int), seed=0).dense.kernel.numpy()
    pretrain_masked_language_model(encoder, planted(9), num_steps=2, batch_size=2)
    (first, kernel), (second, later) = seen
    for old, new in zip(before, first):
        np.testing.assert_array_equal(old, new)
    assert abs(kernel - fresh).max() > 1e-4 and abs(later - kernel).max() > 1e-6
    assert any(not np.array_equal(old, new) for old, new in zip(first, second))


def test_every_step_draws_other_masks(tiny_bert, eagerly, monkeypatch):
    from tfrs_distill.teachers.bert import masked_language_model

    draws = []

    def watched(*arguments, generator, **others):
        draws.append(generator.bit_generator.state["state"]["state"])
        return mask_tokens(*arguments, generator=generator, **others)

    monkeypatch.setattr(masked_language_model, "mask_tokens", watched)
    encoder = TextEncoder(tiny_bert[0])
    pretrain_masked_language_model(encoder, planted(9), num_steps=2, batch_size=3)
    assert len(draws) == len(set(draws)) == 4  # two of the head alone, two of all weights


@pytest.mark.nightly
def test_seed_fixes_the_losses_with_dropout_too(tiny_bert, eagerly):
    def losses(seed, rate=0.3):
        encoder = TextEncoder(tiny_bert[0])
        for part in encoder.model.submodules:
            if isinstance(part, tf.keras.layers.Dropout):
                part.rate = rate
        arguments = {"num_steps": 2, "batch_size": 3}
        return pretrain_masked_language_model(encoder, planted(9), seed=seed, **arguments).losses

    first = losses(1)
    np.testing.assert_allclose(losses(1), first, rtol=1e-5)
    assert abs(np.subtract(losses(2), first)).max() > 1e-3
    assert abs(np.subtract(losses(1, rate=0.0), first)).max() > 1e-3


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"batch_size": 0}, r"`batch_size` must be a whole.*batch_size=0"),
        ({"max_scored_tokens": 0}, "`max_scored_tokens` must be a whole"),
        ({"mask_share": 0.0}, r"`mask_share` must be above 0 and below 1\. .*mask_share=0\.0"),
        ({"held_out_share": 1.0}, "`held_out_share` must be above 0 and below 1"),
        ({"num_steps": 0}, "`num_steps` must be a whole"),
        ({"learning_rate": 0.0}, "learning rate must be greater than 0"),
        ({"warmup_share": 1.5}, "`warmup_share` must be"),
    ],
)
def test_wrong_arguments_are_refused(tiny_bert, arguments, words):
    encoder = TextEncoder(tiny_bert[0])
    with pytest.raises(ValueError, match=words):
        pretrain_masked_language_model(encoder, TEXTS, **({"num_steps": 1} | arguments))


def test_invalid_texts_and_encoders_are_refused(tiny_bert):
    encoder = TextEncoder(tiny_bert[0])
    with pytest.raises(InputError, match="at least two different texts.*Received: 1"):
        pretrain_masked_language_model(encoder, ["a", "a"], num_steps=1)
    head = MaskedLanguageHead(encoder, np.zeros(0, int), seed=0)
    with pytest.raises(InputError, match="hold no words to predict"):
        pseudo_perplexity(encoder, head, ["", " "])
    encoder.tokenizer.mask_token = None
    with pytest.raises(InputError, match="has no mask token"):
        pretrain_masked_language_model(encoder, TEXTS, num_steps=1)
    encoder = TextEncoder(tiny_bert[0])
    LoRA().attach(encoder)
    with pytest.raises(ValueError, match="already has added layers, so it cannot be pre-trained"):
        pretrain_masked_language_model(encoder, TEXTS, num_steps=1)


@pytest.mark.parametrize("family", ["roberta", "distilbert", "mpnet", "electra"])
def test_a_new_head_reads_every_family(tiny_bert, family):
    encoder = with_model(TextEncoder(tiny_bert[0]), family)
    head = MaskedLanguageHead(encoder, np.zeros(0, int), seed=0)
    assert head.logits(tf.ones([2, 16])).shape == (2, encoder.model.config.vocab_size)

"""Tiny random checkpoints of three BERT families, with tokenizers, written by transformers.

Each reads any English text; hidden size 16, 2 layers, 2 heads, positions for 64 tokens.
"""

import json
from pathlib import Path

from tiny_bert import LETTERS, SPECIAL, WORDS

FAMILIES = ("bert", "roberta", "distilbert")
MAX_TOKENS = 64


def make_tiny_model(family, vocabulary_size):
    """A `TFPreTrainedModel` without head whose weights are far from their small initial size."""
    from transformers import (
        BertConfig,
        DistilBertConfig,
        RobertaConfig,
        TFAutoModel,
        set_seed,
    )

    bert_like = {
        "vocab_size": vocabulary_size,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "initializer_range": 0.3,
    }
    config = {
        "bert": lambda: BertConfig(**bert_like, max_position_embeddings=MAX_TOKENS),
        # RoBERTa's positions begin at 2: `<pad>` is 1.
        "roberta": lambda: RobertaConfig(
            **bert_like, max_position_embeddings=MAX_TOKENS + 2, type_vocab_size=1
        ),
        "distilbert": lambda: DistilBertConfig(
            vocab_size=vocabulary_size,
            dim=16,
            n_layers=2,
            n_heads=2,
            hidden_dim=32,
            initializer_range=0.3,
            max_position_embeddings=MAX_TOKENS,
        ),
    }[family]()
    set_seed(1)
    model = TFAutoModel.from_config(config)
    model.build_in_name_scope()
    return model


def write_tokenizer(folder, family):
    """Write the family's tokenizer files; returns the size of the vocabulary."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if family == "roberta":
        return _write_byte_pairs(folder)
    vocabulary = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), *".,'()", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    name = {"bert": "BertTokenizer", "distilbert": "DistilBertTokenizer"}[family]
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": name, "do_lower_case": True})
    )
    return len(vocabulary)


def _write_byte_pairs(folder):
    """A byte-level BPE of all 256 bytes and a few merges."""
    from transformers.models.roberta.tokenization_roberta import bytes_to_unicode

    merges = [("Ġ", "f"), ("i", "l"), ("Ġf", "il"), ("Ġfil", "m"), ("a", "r"), ("o", "n")]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    pieces += [*bytes_to_unicode().values(), *(left + right for left, right in merges)]
    (folder / "vocab.json").write_text(
        json.dumps({piece: index for index, piece in enumerate(pieces)}), encoding="utf-8"
    )
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "RobertaTokenizer"})
    )
    return len(pieces)


def write_tiny_checkpoint(folder, family):
    """Write configuration, tokenizer and `format: tf` safetensors; returns the model itself."""
    model = make_tiny_model(family, write_tokenizer(folder, family))
    model.save_pretrained(folder, safe_serialization=True)
    return model

"""A random BERT of a few thousand numbers, written to a folder without PyTorch or TensorFlow.

`write_tiny_bert` writes the files, `bert_in_numpy` computes the expected outputs in float64.
"""

import json
import math
import re
from pathlib import Path

import numpy as np

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
WORDS = (
    "film galaxy space rocket planet alien saloon cowboy desert sheriff horse wedding love kiss "
    "heart bride castle king sword dragon knight"
).split()


def write_tiny_bert(
    folder, *, hidden_size=16, num_layers=2, num_heads=2, max_positions=128, seed=0, scale=0.3
):
    """Write `config.json`, `vocab.txt`, `tokenizer_config.json` and `model.safetensors`.

    Any text can be read: letters and digits are wordpieces, and so are a few words. Returns the
    weights by their names in PyTorch's BERT, as in the file.
    """
    import safetensors.numpy

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), *".,'()", *WORDS]
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": len(vocabulary),
        "hidden_size": hidden_size,
        "num_hidden_layers": num_layers,
        "num_attention_heads": num_heads,
        "intermediate_size": 2 * hidden_size,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "max_position_embeddings": max_positions,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True})
    )
    weights = _random_weights(config, np.random.default_rng(seed), scale)
    safetensors.numpy.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return weights


def _random_weights(config, random, scale):
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    shapes = {
        "embeddings.word_embeddings.weight": [config["vocab_size"], hidden],
        "embeddings.position_embeddings.weight": [config["max_position_embeddings"], hidden],
        "embeddings.token_type_embeddings.weight": [2, hidden],
        "embeddings.LayerNorm.weight": [hidden],
        "embeddings.LayerNorm.bias": [hidden],
        "pooler.dense.weight": [hidden, hidden],
        "pooler.dense.bias": [hidden],
    }
    for index in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{index}"
        for name, rows, width in (
            ("attention.self.query", hidden, hidden),
            ("attention.self.key", hidden, hidden),
            ("attention.self.value", hidden, hidden),
            ("attention.output.dense", hidden, hidden),
            ("intermediate.dense", inner, hidden),
            ("output.dense", hidden, inner),
        ):
            shapes[f"{layer}.{name}.weight"] = [rows, width]
            shapes[f"{layer}.{name}.bias"] = [rows]
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"{layer}.{name}.weight"] = [hidden]
            shapes[f"{layer}.{name}.bias"] = [hidden]
    return {
        name: (scale * random.normal(size=shape) + name.endswith("LayerNorm.weight")).astype("f4")
        for name, shape in shapes.items()
    }


def wordpieces(folder, text):
    """Token ids of a text, `[CLS]` and `[SEP]` around them, by greedy longest match."""
    lines = (Path(folder) / "vocab.txt").read_text().splitlines()
    index = {piece: number for number, piece in enumerate(lines)}
    ids = [index["[CLS]"]]
    for word in re.findall(r"\w+|[^\w\s]", text.lower()):
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = [e for e in range(len(word), start, -1) if prefix + word[start:e] in index]
            if not ends:  # no piece fits; none of the words used here has begun by then
                ids.append(index["[UNK]"])
                break
            ids.append(index[prefix + word[start : ends[0]]])
            start = ends[0]
    return [*ids, index["[SEP]"]]


def bert_in_numpy(weights, token_ids, *, num_heads=2):
    """The last layer's hidden states of one text in float64, [num_tokens, hidden_size]."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    erf = np.vectorize(math.erf)

    def dense(inputs, name):
        return inputs @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(inputs, name):
        centred = inputs - inputs.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    hidden = (
        w["embeddings.word_embeddings.weight"][token_ids]
        + w["embeddings.position_embeddings.weight"][: len(token_ids)]
        + w["embeddings.token_type_embeddings.weight"][0]
    )
    hidden = norm(hidden, "embeddings.LayerNorm")
    num_layers = 1 + max(int(name.split(".")[2]) for name in w if name.startswith("encoder"))
    head_dim = hidden.shape[1] // num_heads
    for index in range(num_layers):
        layer = f"encoder.layer.{index}"
        query, key, value = (
            dense(hidden, f"{layer}.attention.self.{part}") for part in ("query", "key", "value")
        )
        heads = []
        for head in range(num_heads):
            part = slice(head * head_dim, (head + 1) * head_dim)
            logits = query[:, part] @ key[:, part].T / math.sqrt(head_dim)
            attention = np.exp(logits - logits.max(axis=1, keepdims=True))
            heads.append(attention / attention.sum(axis=1, keepdims=True) @ value[:, part])
        attended = dense(np.concatenate(heads, axis=1), f"{layer}.attention.output.dense")
        hidden = norm(hidden + attended, f"{layer}.attention.output.LayerNorm")
        inner = dense(hidden, f"{layer}.intermediate.dense")
        inner = inner * 0.5 * (1 + erf(inner / math.sqrt(2)))
        hidden = norm(hidden + dense(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    return hidden

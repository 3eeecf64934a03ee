"""The head that predicts masked words: the checkpoint's if it has one, else a new one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_distill.teachers.bert.checkpoint import weight_files
from tfrs_distill.teachers.bert.pytorch_file import read_pytorch_file
from tfrs_distill.teachers.bert.text_encoder import TextEncoder

# Names of the head's parts in PyTorch's BERT, RoBERTa and MPNet, and DistilBERT.
PARTS = (
    ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions"),
    ("lm_head.dense", "lm_head.layer_norm", "lm_head"),
    ("vocab_transform", "vocab_layer_norm", "vocab_projector"),
)


class MaskedLanguageHead(tf.Module):
    """Logits over the vocabulary: `E norm(act(W h + c)) + b`, E the encoder's word embeddings.

    W, c, the normalisation and b are the checkpoint's if its weights file has them by their PyTorch
    names (BERT's `cls.predictions`, RoBERTa's and MPNet's `lm_head`, DistilBERT's `vocab_*`).
    Sentence encoders such as all-MiniLM-L6-v2 have none. Then W is random, and b is the logarithm
    of each token's count in the given tokens plus 1: the best prediction without context.
    Reference: [Devlin et al., 2018](https://arxiv.org/abs/1810.04805), section 3.1.

    Args:
        encoder: the text encoder.
        token_ids: int array of tokens that are counted for a new head.
        seed: seed of a new W.

    Attributes:
        is_fresh: whether the checkpoint has no head.
        head_variables: the head's weights, without the tied embeddings.
    """

    def __init__(self, encoder: TextEncoder, token_ids: np.ndarray, *, seed: int) -> None:
        super().__init__(name="masked_language_head")
        config = encoder.model.config
        self.words: tf.Variable = encoder.model.get_input_embeddings().weight
        self.activation = _activation(config)
        vocabulary, width = self.words.shape
        self.dense = tf.keras.layers.Dense(
            width,
            kernel_initializer=tf.keras.initializers.TruncatedNormal(
                stddev=getattr(config, "initializer_range", 0.02), seed=seed
            ),
            name="transform",
        )
        self.norm = tf.keras.layers.LayerNormalization(
            epsilon=getattr(config, "layer_norm_eps", 1e-12), name="norm"
        )
        self.dense.build([None, encoder.hidden_dim])
        self.norm.build([None, width])
        counts = np.bincount(np.asarray(token_ids).reshape(-1), minlength=vocabulary) + 1.0
        self.bias = tf.Variable(np.log(counts / counts.sum()).astype(np.float32), name="bias")
        stored = _stored_head(encoder.folder)
        self.is_fresh = stored is None
        if stored is not None:
            kernel, *others = stored
            variables = [self.dense.bias, self.norm.gamma, self.norm.beta, self.bias]
            for variable, value in zip([self.dense.kernel, *variables], [kernel.T, *others]):
                variable.assign(value)

    @property
    def head_variables(self) -> list[tf.Variable]:
        """The weights that are trained while the encoder is frozen."""
        return [*self.dense.trainable_variables, *self.norm.trainable_variables, self.bias]

    def logits(self, hidden: tf.Tensor) -> tf.Tensor:
        """`[num_tokens, hidden_dim]` to `[num_tokens, vocabulary]`."""
        read = self.norm(self.activation(self.dense(hidden)))
        return tf.matmul(read, self.words, transpose_b=True) + self.bias


def _activation(config: Any) -> Any:
    from transformers.activations_tf import get_tf_activation

    return get_tf_activation(getattr(config, "hidden_act", None) or config.activation)


def _stored_head(folder: Path) -> list[np.ndarray] | None:
    """Return a checkpoint's W, c, gain and offset of the normalisation, and b; or None."""
    weights: dict[str, np.ndarray] = {}
    for path in weight_files(folder):
        weights |= _head_of(path)
    for dense, norm, decoder in PARTS:
        names = [f"{dense}.weight", f"{dense}.bias", f"{norm}.weight", f"{norm}.bias"]
        names.append(f"{decoder}.bias")
        if all(name in weights for name in names):
            return [weights[name] for name in names]
    return None


def _head_of(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a head in a weights file; older files use the names gamma and beta."""
    import safetensors

    beginnings = tuple(name for part in PARTS for name in part)
    if path.suffix == ".bin":
        found = {n: w for n, w in read_pytorch_file(path).items() if n.startswith(beginnings)}
    else:
        with safetensors.safe_open(path, framework="np") as file:
            found = {n: file.get_tensor(n) for n in file.keys() if n.startswith(beginnings)}  # noqa: SIM118
    return {n.replace(".gamma", ".weight").replace(".beta", ".bias"): w for n, w in found.items()}

"""The text encoder against vectors of sentence-transformers with the same weights.

`reference_vectors.json` says how it was made; `benchmarks/make_reference_vectors.py` made it.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from tfrs_distill.teachers import TextEncoder

REFERENCE = json.loads(
    Path(__file__).with_name("reference_vectors.json").read_text(encoding="utf-8")
)
TEXTS = REFERENCE["texts"]
pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def encoder(minilm_folder):
    return TextEncoder(minilm_folder, max_length=128)


def test_vectors_agree_with_the_reference(encoder):
    vectors = encoder.encode(TEXTS).astype(np.float64)
    assert vectors.shape == (8, 384)
    # Measured on a CPU: 1.5e-7 for the entries, 2.3e-7 for the dot products and 1.8e-7 over all
    # 384 entries. 1e-4 leaves room for other hardware; entries are about 0.05 in size.
    np.testing.assert_allclose(vectors[:, :16], REFERENCE["first_entries"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(vectors @ vectors.T, REFERENCE["dot_products"], rtol=0, atol=1e-4)


def test_texts_have_the_wordpieces_of_the_reference(encoder):
    assert max(REFERENCE["wordpieces"]) > 128  # one text is truncated
    lengths = encoder.tokenize(TEXTS)[1].sum(axis=1)
    assert lengths.tolist() == [min(count, 128) for count in REFERENCE["wordpieces"]]


def test_weights_are_those_of_the_reference(minilm_folder):
    content = (Path(minilm_folder) / "model.safetensors").read_bytes()
    assert hashlib.sha256(content).hexdigest() == REFERENCE["made"]["weights_sha256"]

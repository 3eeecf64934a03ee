"""One tiny BERT for all tests of this folder."""

import pytest
from tiny_bert import write_tiny_bert


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory):
    """`(folder, weights)` of a random BERT: hidden size 16, 2 layers; it must not be changed."""
    folder = tmp_path_factory.mktemp("bert") / "tiny"
    return folder, write_tiny_bert(folder)

"""What a step's own checks say, without TensorFlow's words around it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf

from tfrs_distill.errors import InputError

MARK = "tfrs_distill: "  # in front of what a check says to the user


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Turns what a marked `tf.debugging.Assert` raises into an InputError with just its words."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        if MARK not in error.message:
            raise
        # A graph puts words and values in brackets, eager code puts each on its line.
        said = error.message.split(MARK, 1)[1].split("\n\t [[")[0]
        words = re.sub(r"""\] \[|['"]?\n(?:b['"])?""", " ", said).strip("]'\" ")
        raise InputError(words.replace("\\'", "'")) from error

"""Long lists of cases: a few run by default and the others with `pytest -m nightly`."""

import pytest


def nightly(*values):
    """A case for `pytest.mark.parametrize` that is skipped by default."""
    return pytest.param(*values, marks=pytest.mark.nightly)


def one_in(number, cases):
    """The first of every `number` cases runs by default; cases are tuples of several arguments."""
    return [case if place % number == 0 else nightly(*case) for place, case in enumerate(cases)]

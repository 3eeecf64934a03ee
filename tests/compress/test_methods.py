"""Parsing of lists of methods, and invalid lists."""

import pytest

from tfrs_distill.compress import quantization_of
from tfrs_distill.compress.methods import Methods
from tfrs_distill.errors import InputError


def test_a_list_is_read_in_order():
    read = Methods.of(["units:8", "ids-only", "product:4", "int4:tensor"])
    assert read == Methods(8, False, "product", (4, 256), bits=4, scale="tensor")
    assert Methods.of([]) == Methods()
    read = Methods.of(["heads:1", "dense-rank:4", "low-rank:80%"])
    assert read == Methods(structure="low-rank", energy=0.8, heads=1, dense_rank=4)
    assert Methods.of(["dense-rank:90%"]) == Methods(dense_energy=0.9)


def test_wide_parts_have_a_scale_per_row_by_default():
    assert [Methods.of(["int4"]).scale_of(width) for width in (7, 8)] == ["tensor", "row"]
    assert Methods.of(["int2:column"]).scale_of(33) == "column"


@pytest.mark.parametrize(
    ("methods", "quantization"),
    [
        ([], "float32"),
        (["low-rank:2"], "float32"),
        (["float16"], "float16"),
        (["int8"], "int8"),
        (["int4"], "int8"),
        (["units:4", "int2:row"], "int8"),
    ],
)
def test_the_matrices_are_quantized_to_match(methods, quantization):
    assert quantization_of(methods) == quantization


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ("int4", "must be a list"),
        (["int3"], "no method 'int3'.*units:N, heads:N, dense-rank:N.*low-rank:N.*int4"),
        (["low-rank"], "rank.*Received: 'low-rank'"),
        (["low-rank:100%"], "such as low-rank:90%"),
        (["low-rank:x%"], "such as low-rank:90%"),
        (["dense-rank:0%"], "such as dense-rank:90%"),
        (["dense-rank:2", "dense-rank:90%"], "repeats another"),
        (["dense-rank"], "takes, each after a colon, rank"),
        (["heads"], "number of attention heads"),
        (["heads:2", "heads:1"], "repeats another"),
        (["low-rank:0"], "whole numbers above 0"),
        (["low-rank:2:3"], "Received: 'low-rank:2:3'"),
        (["product:x"], "number of codes per row, size of a codebook"),
        (["int8:3"], "axis of the scales"),
        (["int4:3"], "row, column, tensor"),
        (["int4", "low-rank:2"], "after the numbers were quantized"),
        (["int4", "int4"], "after the numbers were quantized"),
        (["low-rank:2", "product:2"], "repeats another"),
        (["units:2", "units:4"], "repeats another"),
        (["ids-only:2"], "no method"),
    ],
)
def test_other_lists_are_refused(methods, words):
    with pytest.raises(InputError, match=words):
        Methods.of(methods)


@pytest.mark.parametrize(
    "methods",
    [
        [],
        ["units:3", "heads:2", "dense-rank:7", "ids-only", "product:4:32", "int8:column"],
        ["dense-rank:99.99%", "low-rank:90%", "float16"],
        ["low-rank:5", "int4"],
        ["int8"],
    ],
    ids="+".join,
)
def test_methods_keep_their_given_names(methods):
    assert Methods.of(methods).texts == methods

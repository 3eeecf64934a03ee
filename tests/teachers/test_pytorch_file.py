"""PyTorch files return their arrays, and every invalid or unsafe file is refused."""

import pickle
import zipfile
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest
from torch_file import Parameter, Storage, Tensor, pickled, tensor, write_torch_file

from tfrs_distill.errors import InputError
from tfrs_distill.teachers.bert.pytorch_file import read_pytorch_file


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pytorch_model.bin"


@pytest.mark.parametrize("byteorder", ["little", "big", None])
@pytest.mark.parametrize(
    "kind", "float32 float64 float16 int64 int32 int16 int8 uint8 bool".split()
)
def test_numbers_of_every_type_are_read_in_either_byte_order(path, kind, byteorder):
    array = np.array([[0, 1, 2], [3, 100, 5]]).astype(kind)
    write_torch_file(path, {"weight": tensor(array)}, byteorder=byteorder)
    read = read_pytorch_file(path)["weight"]
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_bfloat16_becomes_the_same_numbers_in_float32(path, byteorder):
    # 1 + 2**-7 is the next number after 1, 2**127 and 2**-126 the ends of the common range.
    numbers = [0.0, -0.0, 1.0, 1 + 2**-7, -3.5, 2.0**127, 2.0**-126, np.inf]
    array = np.array(numbers, np.float32).reshape(2, 4).astype(ml_dtypes.bfloat16)
    write_torch_file(path, {"weight": tensor(array)}, byteorder=byteorder)
    read = read_pytorch_file(path)["weight"]
    assert read.dtype == np.float32 and read.tolist() == [numbers[:4], numbers[4:]]


def test_tensors_are_the_views_of_their_storage_by_offset_and_strides(path):
    base = np.arange(48, dtype=np.float32).reshape(6, 8)
    storage = Storage(base)
    state = OrderedDict(
        whole=Tensor(storage, 0, (6, 8), (8, 1)),
        transposed=Tensor(storage, 0, (8, 6), (1, 8)),
        part=Tensor(storage, 8 + 2, (2, 2), (16, 3)),  # base[1:5:2, 2:8:3]
        row=Tensor(storage, 5 * 8, (8,), (1,)),
        repeated=Tensor(storage, 3, (4, 2), (0, 1)),
        number=Tensor(storage, 47, (), ()),
        nothing=Tensor(storage, 0, (0, 8), (8, 1)),
    )
    write_torch_file(path, state)
    read = read_pytorch_file(path)
    expected = {
        "whole": base,
        "transposed": base.T,
        "part": base[1:5:2, 2:8:3],
        "row": base[5],
        "repeated": np.stack([base[0, 3:5]] * 4),
        "number": base[5, 7],
        "nothing": np.zeros((0, 8), np.float32),
    }
    assert list(read) == list(expected)
    for name, array in expected.items():
        assert read[name].shape == array.shape and read[name].flags.c_contiguous
        np.testing.assert_array_equal(read[name], array)
    with zipfile.ZipFile(path) as archive:  # the storage is stored once
        assert [n for n in archive.namelist() if "/data/" in n] == ["archive/data/0"]


@pytest.mark.parametrize("shape, strides", [((0,), (1,)), ((0, 4), (4, 1)), ((4, 0), (1, 1))])
def test_tensors_without_numbers(path, shape, strides):
    write_torch_file(path, {"w": Tensor(Storage(np.zeros(0, np.float32)), 0, shape, strides)})
    assert read_pytorch_file(path)["w"].shape == shape


def test_parameters_and_the_metadata_of_a_state_dict_are_read(path):
    state = OrderedDict(weight=Parameter(tensor(np.array([1.5, 2.5], np.float32))))
    state._metadata = OrderedDict({"": {"version": 1}})
    write_torch_file(path, state)
    assert b"_metadata" in pickled(state)[0]
    read = read_pytorch_file(path)
    assert list(read) == ["weight"] and read["weight"].tolist() == [1.5, 2.5]


def test_several_storages_are_distinguished(path):
    arrays = {f"w{i}": np.full((2, 3), i, np.float32) for i in range(12)}
    write_torch_file(path, {name: tensor(array) for name, array in arrays.items()})
    read = read_pytorch_file(path)
    assert {name: array.tolist() for name, array in read.items()} == {
        name: array.tolist() for name, array in arrays.items()
    }


class Attack:
    """Unpickled by an ordinary unpickler, it would write a file."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("place", ["value", "state", "argument"])
def test_a_file_with_code_is_refused_and_runs_none(path, tmp_path, place):
    attack = Attack(open, str(tmp_path / "written"), "w")
    whole = tensor(np.zeros(2, np.float32))
    state = {
        "value": {"a": whole, "b": attack},
        "state": attack,
        "argument": {"a": Tensor(whole.parts[0], attack, (2,), (1,))},
    }[place]
    write_torch_file(path, state)
    with pytest.raises(
        InputError,
        match=r"^The PyTorch file \S+ names \w*io\.open, which is none.*not executed.*torch",
    ):
        read_pytorch_file(path)
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    "name", ["torch._utils _rebuild_qtensor", "torch UntypedStorage", "builtins getattr"]
)
def test_every_other_name_is_refused(path, name):
    module, attribute = name.split()
    content = b"\x80\x02c" + f"{module}\n{attribute}\n".encode() + b"."
    write_torch_file(path, {}, data_pickle=content)
    with pytest.raises(InputError, match=f"names {module}.{attribute}, which is none of the few"):
        read_pytorch_file(path)


def test_storage_types_cannot_be_called(path):
    """`ctorch\\nFloatStorage\\n` with an empty tuple and REDUCE."""
    write_torch_file(path, {}, data_pickle=b"\x80\x02ctorch\nFloatStorage\n)R.")
    with pytest.raises(InputError, match=r"cannot be read \(TypeError"):
        read_pytorch_file(path)


@pytest.mark.parametrize(
    "offset, shape, strides",
    [
        (1, (4,), (1,)),
        (0, (5,), (1,)),
        (0, (2, 2), (3, 1)),
        (-1, (2,), (1,)),
        (3, (2,), (-1,)),
        (0, (-1,), (1,)),
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(path, offset, shape, strides):
    storage = Storage(np.zeros(4, np.float32))
    write_torch_file(path, {"w": Tensor(storage, offset, shape, strides)})
    with pytest.raises(InputError, match=r"'w' \(shape .* is not within its storage of 4"):
        read_pytorch_file(path)


@pytest.mark.parametrize("shape, strides", [((2, 2), (1,)), ((2.0,), (1,)), (("a",), (1,))])
def test_an_invalid_shape_is_refused(path, shape, strides):
    write_torch_file(path, {"w": Tensor(Storage(np.zeros(4, np.float32)), 0, shape, strides)})
    with pytest.raises(InputError, match="cannot be read"):
        read_pytorch_file(path)


def test_a_storage_of_another_length_is_refused(path):
    state = {"w": tensor(np.zeros(4, np.float32))}
    write_torch_file(path, state, replace={"data/0": bytes(15)})
    with pytest.raises(InputError, match="storage 0 needs 4 x 4 bytes and has 15"):
        read_pytorch_file(path)


def test_a_missing_storage_is_named(path):
    state = {"w": tensor(np.zeros(4, np.float32))}
    write_torch_file(path, state, replace={"data/0": None})
    with pytest.raises(InputError, match=r"cannot be read \(KeyError.*archive/data/0"):
        read_pytorch_file(path)


@pytest.mark.parametrize(
    "state, found",
    [
        ([1, 2], "a list"),
        ({"model": {"w": 1}}, "'model': dict"),
        ({"epoch": 3}, "'epoch': int"),
        ({7: tensor(np.zeros(1, np.float32))}, "7: _Tensor"),
    ],
)
def test_anything_but_tensors_by_name_is_refused(path, state, found):
    write_torch_file(path, state)
    with pytest.raises(InputError, match=f"names to tensors. It holds {found}. Turn it into"):
        read_pytorch_file(path)


def test_the_format_before_zip_error_names_the_solution(path):
    # Such a file begins with pickles of a magic number and of 1001, the protocol's version.
    magic = 0x1950A86A20F9469CFC6C
    path.write_bytes(pickle.dumps(magic, 2) + pickle.dumps(1001, 2))
    with pytest.raises(
        InputError,
        match=r"of PyTorch before 1\.6, which.*safetensors where PyTorch.*save_pretrained",
    ):
        read_pytorch_file(path)


def test_a_truncated_file_is_detected(path):
    write_torch_file(path, {"w": tensor(np.zeros(400, np.float32))})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"without its end: truncated\. Fetch it again"):
        read_pytorch_file(path)


def test_a_flipped_bit_is_detected(path):
    write_torch_file(path, {"w": tensor(np.full(400, 7.25, np.float32))})
    content = bytearray(path.read_bytes())
    content[content.index(np.full(9, 7.25, np.float32).tobytes()) + 600] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read \(BadZipFile: Bad CRC.*altered"):
        read_pytorch_file(path)


@pytest.mark.parametrize("cut", [0, 1, 20])
def test_an_incomplete_pickle_is_detected(path, cut):
    content = pickled({"w": tensor(np.zeros(4, np.float32))})[0]
    write_torch_file(path, {}, data_pickle=content[:cut] or b"\x80")
    with pytest.raises(InputError, match="cannot be read"):
        read_pytorch_file(path)


def test_a_reference_that_is_not_a_storage_is_detected(path):
    # BINPERSID of ('module', FloatStorage, '0', 'cpu', 4).
    content = b"\x80\x02(U\x06modulectorch\nFloatStorage\nU\x010U\x03cpuK\x04tQ."
    write_torch_file(path, {}, data_pickle=content)
    with pytest.raises(
        InputError, match=r"cannot be read \(ValueError: \('module'.* is not a storage"
    ):
        read_pytorch_file(path)


def test_another_zip_is_detected(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(InputError, match=r"needs one NAME/data\.pkl\. It holds: notes\.txt"):
        read_pytorch_file(path)


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1\n", b""])
def test_a_file_that_is_not_a_zip_shows_its_first_bytes(path, content):
    path.write_bytes(content)
    begins = f"begins with {content[:24]!r}"
    with pytest.raises(InputError, match=f"not a zip archive of torch.save; it {begins}"):
        read_pytorch_file(path)

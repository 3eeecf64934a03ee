import pytest

from tfrs_distill.errors import InputError
from tfrs_distill.interpreter import open_interpreter


def test_open_interpreter_refuses_what_is_no_model(tmp_path):
    (tmp_path / "bad.tflite").write_bytes(b"not a model")
    with pytest.raises(InputError, match="bad.tflite cannot be read as a .tflite model"):
        open_interpreter(tmp_path / "bad.tflite")

import os
import threading
import time

import ai_edge_litert.interpreter as litert
import numpy as np
import pytest
import tensorflow as tf

from tfrs_distill.errors import InputError
from tfrs_distill.serving.interpreter import TFLiteModel

ONE = {"x": np.array([1.0, 2.0], np.float32)}


def adds(number):
    """A `.tflite` file of `y = x + number`."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def serve(x):
        return {"y": x + number}

    module = tf.Module()
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [serve.get_concrete_function()], module
    )
    return converter.convert()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "adds_one.tflite"
    path.write_bytes(adds(1.0))
    return path


@pytest.fixture
def opened(monkeypatch):
    """The opened interpreters, which take 2 ms per call, and how many run at once."""
    found = {"interpreters": 0, "running": 0, "most": 0}
    lock = threading.Lock()

    class Counted:
        def __init__(self, **_):
            found["interpreters"] += 1

        def allocate_tensors(self):
            pass

        def get_signature_list(self):
            return ["serving_default"]

        def get_signature_runner(self, _):
            def run(x):
                with lock:
                    found["running"] += 1
                    found["most"] = max(found["most"], found["running"])
                time.sleep(0.002)
                with lock:
                    found["running"] -= 1
                return {"y": x}

            return run

    monkeypatch.setattr(litert, "Interpreter", Counted)
    return found


def in_threads(function, num_threads):
    threads = [threading.Thread(target=function) for _ in range(num_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_refuses_an_invalid_model(tmp_path):
    (tmp_path / "bad.tflite").write_bytes(b"not a model")
    with pytest.raises(InputError, match="bad.tflite cannot be read as a .tflite model"):
        TFLiteModel(tmp_path / "bad.tflite")


@pytest.mark.parametrize("num_threads, at_once", [(1, 3), (2, 1), (9, 1)])
def test_as_many_run_at_once_as_there_are_cores(file, opened, monkeypatch, num_threads, at_once):
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    model = TFLiteModel(file, num_threads=num_threads)
    in_threads(lambda: [model.run("serving_default", ONE) for _ in range(5)], 8)
    assert opened == {"interpreters": at_once, "running": 0, "most": at_once}


def test_short_lived_threads_leave_no_interpreter_behind(file, opened):
    model = TFLiteModel(file)
    for _ in range(20):
        in_threads(lambda: model.run("serving_default", ONE), 1)
    assert opened["interpreters"] == 1


def test_reads_the_file_once(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(adds(1.0))
    model = TFLiteModel(path)
    path.write_bytes(adds(5.0))
    model._idle.clear()  # as if another thread ran the only interpreter
    np.testing.assert_array_equal(model.run("serving_default", ONE)["y"], [2.0, 3.0])


def test_a_call_that_fails_does_not_affect_the_next(file, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    model = TFLiteModel(file)
    for _ in range(2):
        with pytest.raises(ValueError, match="Cannot set tensor"):
            model.run("serving_default", {"x": np.array([1], np.int64)})
    np.testing.assert_array_equal(model.run("serving_default", ONE)["y"], [2.0, 3.0])

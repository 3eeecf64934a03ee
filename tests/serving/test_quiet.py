import logging
import os
import threading

import pytest

from tfrs_distill.serving.quiet import quiet_stderr


def test_keeps_native_writes_off_standard_error(capfd, caplog):
    with caplog.at_level(logging.DEBUG, logger="tfrs_distill.serving.quiet"), quiet_stderr():
        os.write(2, b"native\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
    assert "native" in caplog.text


def test_lets_exceptions_through_and_restores(capfd):
    with pytest.raises(KeyError), quiet_stderr():
        raise KeyError("seen")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_two_threads_restore_standard_error(capfd):
    first_is_in, second_may_go = threading.Event(), threading.Event()

    def second():
        first_is_in.wait()
        with quiet_stderr():
            second_may_go.wait()

    thread = threading.Thread(target=second)
    thread.start()
    with quiet_stderr():
        first_is_in.set()
        thread.join(0.05)  # time to swap standard error too, if it could
    second_may_go.set()
    thread.join()
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"

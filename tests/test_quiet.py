import logging
import os

import pytest

from tfrs_distill.quiet import quiet_stderr


def test_keeps_native_writes_off_standard_error(capfd, caplog):
    with caplog.at_level(logging.DEBUG, logger="tfrs_distill.quiet"), quiet_stderr():
        os.write(2, b"native\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
    assert "native" in caplog.text


def test_lets_exceptions_through_and_restores(capfd):
    with pytest.raises(KeyError), quiet_stderr():
        raise KeyError("seen")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"

import os
import signal
import subprocess
import sys

import pytest

from tfrs_distill.files import whole_file, whole_folder


class DiskFull(OSError):
    pass


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_at_the_end_of_the_block_and_not_before(tmp_path):
    target = tmp_path / "new" / "a.bin"
    with whole_file(target) as file:
        file.write(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert names(target.parent) == ["a.bin"]


def test_text_is_utf_8(tmp_path):
    with whole_file(tmp_path / "a.txt", "w") as file:
        file.write("Café")
    assert (tmp_path / "a.txt").read_bytes() == b"Caf\xc3\xa9"


def test_failed_file_keeps_the_old_one_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(DiskFull), whole_file(target, "w") as file:
        file.write("half")
        raise DiskFull
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    with whole_file(tmp_path / "a", "w") as file:
        file.write("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_folder_appears_at_the_end_of_the_block_and_replaces_the_old_one(tmp_path):
    target = tmp_path / "new" / "model"
    for word in ("first", "second"):
        with whole_folder(target) as folder:
            (folder / word).write_text(word)
            assert not (target / word).exists()
        assert names(target) == [word]
        assert names(target.parent) == ["model"]


def test_failed_folder_keeps_the_old_one_and_nothing_else(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(DiskFull), whole_folder(target) as folder:
        (folder / "half").write_text("half")
        raise DiskFull
    assert names(target) == ["old"]
    assert names(tmp_path) == ["model"]


def test_folder_has_the_permissions_of_any_new_folder(tmp_path):
    (tmp_path / "plain").mkdir()
    with whole_folder(tmp_path / "a"):
        pass
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_killed_process_never_leaves_a_half_written_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    code = (
        "import os, signal, sys\n"
        "from tfrs_distill.files import whole_file\n"
        "with whole_file(sys.argv[1], 'w') as file:\n"
        "    file.write('half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, os.fspath(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert target.read_text() == "old"

"""Locks: holders, waiting, and killed processes."""

import os
import signal
import threading
import time

import pytest

from tfrs_distill.files import lock_of, locked


def test_a_held_lock_cannot_be_acquired_again_and_leaves_no_file(tmp_path):
    path = tmp_path / "new folder" / "shard"
    with locked(path) as first, locked(path, wait=False) as second:
        assert (first, second) == (True, False)
    with locked(path, wait=False) as third:
        assert third
    assert list(path.parent.iterdir()) == []


def test_another_paths_lock_is_free(tmp_path):
    with locked(tmp_path / "a"), locked(tmp_path / "b", wait=False) as mine:
        assert mine


def test_a_lock_is_released_on_an_error(tmp_path):
    with pytest.raises(KeyboardInterrupt), locked(tmp_path / "a"):
        raise KeyboardInterrupt
    with locked(tmp_path / "a", wait=False) as mine:
        assert mine


def holder_of(path):
    """A process that holds the lock until it is killed."""
    child = os.fork()
    if not child:
        with locked(path):
            time.sleep(60)
        os._exit(0)
    while not lock_of(path).exists():
        time.sleep(0.001)
    time.sleep(0.02)
    return child


def test_a_dead_process_holds_no_lock(tmp_path):
    path = tmp_path / "shard"
    child = holder_of(path)
    with locked(path, wait=False) as mine:
        assert not mine
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert lock_of(path).exists()  # it could not clean up
    with locked(path, wait=False) as mine:
        assert mine
    assert not lock_of(path).exists()


def test_a_waiting_process_continues_when_the_holder_dies(tmp_path):
    path = tmp_path / "shard"
    child = holder_of(path)
    killer = os.fork()
    if not killer:
        time.sleep(0.2)
        os.kill(child, signal.SIGKILL)
        os._exit(0)
    start = time.monotonic()
    with locked(path) as mine:
        assert mine
        assert time.monotonic() - start > 0.1
    for process in (child, killer):
        os.waitpid(process, 0)


def test_a_lock_file_that_its_holder_removed_is_not_the_lock(tmp_path):
    """A process waits for the file that the holder removes."""
    path, held, end = tmp_path / "shard", threading.Event(), threading.Event()

    def waits():
        with locked(path):
            held.set()
            end.wait(30)

    other = threading.Thread(target=waits)
    with locked(path):
        other.start()
        time.sleep(0.2)  # until it waits
    assert held.wait(30)
    with locked(path, wait=False) as mine:
        assert not mine
    end.set()
    other.join()


def counting(counter, path, times):
    """A process that adds to a number in a file, under a lock."""
    child = os.fork()
    if not child:
        try:
            for _ in range(times):
                with locked(path):
                    counter.write_text(str(int(counter.read_text()) + 1))
        except BaseException:
            os._exit(1)
        os._exit(0)
    return child


def test_no_two_processes_hold_a_lock_although_each_removes_its_file(tmp_path):
    """Three processes count in one file, as fast as they can."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    children = [counting(counter, tmp_path / "shard", times=30) for _ in range(3)]
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    assert counter.read_text() == "90"
    assert os.listdir(tmp_path) == ["counter"]

"""Jobs: each is done once, also with several processes."""

import numpy as np
import pytest

from tfrs_distill.errors import InputError
from tfrs_distill.files import locked
from tfrs_distill.knowledge.jobs import Job, run_jobs, shard_job
from tfrs_distill.knowledge.shard import Shard


def names(jobs):
    """The names of jobs, in the order in which they are done."""
    return (job.path.name for job in jobs)


def jobs_of(tmp_path, letters, is_done, do):
    return [
        Job(tmp_path / name, lambda name=name: is_done(name), lambda name=name: do(name))
        for name in letters
    ]


def test_each_job_is_done_once_and_yielded_once(tmp_path):
    done, did = {"b"}, []

    def do(job):
        did.append(job)
        done.add(job)

    found = list(names(run_jobs(jobs_of(tmp_path, "abc", done.__contains__, do))))
    assert found == ["a", "b", "c"]
    assert did == ["a", "c"]


def test_jobs_of_another_process_come_last(tmp_path):
    done = set()
    jobs = names(run_jobs(jobs_of(tmp_path, "abc", done.__contains__, done.add)))
    other = locked(tmp_path / "a")
    other.__enter__()
    assert [next(jobs), next(jobs)] == ["b", "c"]
    assert "a" not in done
    done.add("a by the other")
    other.__exit__(None, None, None)
    assert list(jobs) == ["a"]
    assert "a" in done  # the other process ended without doing it


def test_jobs_finished_by_another_process_are_not_repeated(tmp_path):
    done, did = set(), []
    jobs = names(run_jobs(jobs_of(tmp_path, "ab", done.__contains__, did.append)))
    other = locked(tmp_path / "a")
    other.__enter__()
    assert next(jobs) == "b"
    done.add("a")
    other.__exit__(None, None, None)
    assert list(jobs) == ["a"]
    assert did == ["b"]


def test_jobs_finished_while_waiting_for_the_lock_are_not_repeated(tmp_path):
    answers = iter([False, True])  # before the lock, and under it

    def do(_):
        raise AssertionError("done twice")

    found = run_jobs(jobs_of(tmp_path, "a", lambda _: next(answers), do))
    assert list(names(found)) == ["a"]


def test_a_shard_is_written_once_and_a_damaged_one_is_named(tmp_path):
    path, computed = tmp_path / "a.safetensors", []

    def job(fingerprint):
        def arrays():
            computed.append(fingerprint)
            return {"values": np.arange(3)}

        return shard_job(path, fingerprint, arrays, size=3)

    for fingerprint in ("f", "f", "g", "g"):
        assert [each.size for each in run_jobs([job(fingerprint)])] == [3]
    assert computed == ["f", "g"]  # one with another fingerprint is computed again
    np.testing.assert_array_equal(Shard.open(path).arrays["values"], np.arange(3))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="a.safetensors is .* bytes long"):
        list(run_jobs([job("g")]))

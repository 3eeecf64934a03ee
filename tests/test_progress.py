from tfrs_distill.progress import Progress, SilentProgress


def a_job(progress: Progress) -> int:
    progress.stage(1, 2, "data")
    done = 0
    with progress.bar("reading", total=3) as advance:
        for _ in range(3):
            done += 1
            advance(1, note=f"row {done}")
    progress.done("3 rows", 0.5, reused=False)
    return done


def test_silent_progress_prints_nothing_and_the_job_finishes(capfd):
    assert a_job(SilentProgress()) == 3
    assert capfd.readouterr() == ("", "")


def test_silent_progress_passes_an_error_on():
    try:
        with SilentProgress().bar("reading", total=1):
            raise KeyError("mine")
    except KeyError as error:
        assert error.args == ("mine",)
    else:
        raise AssertionError("the error was swallowed")

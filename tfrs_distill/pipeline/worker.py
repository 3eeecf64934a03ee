"""Additional processes that take stages of a run, next to the main process.

A process takes any stage that is ready and not taken (see `Stages.run`), so all processes do the
same; a worker skips the last stages, which read all others. It is started as
`python -m tfrs_distill.pipeline.worker`, reads the run as one line of JSON, writes the events of
its progress bars as lines of JSON, and ends when its standard input is closed, which also happens
when its parent dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tfrs_distill.progress import Advance, Progress

FIRST_STAGES = ("data", "words")  # all others read them, and invalid input is found there
SECONDS_TO_END = 5.0
LAST_STAGES = ("export", "evaluate")  # they read all others, and the last measures latency


def default_processes() -> int:
    """Return the default number of processes: 2, or 1 on a single core or with a GPU.

    A small student's step does not use two cores fully, while only one process can use a GPU's
    memory.
    """
    import tensorflow as tf

    return 1 if num_cores() < 2 or tf.config.list_physical_devices("GPU") else 2


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_cores(processes: int) -> None:
    """Limit TensorFlow to this process' share of the cores, if it has not started yet.

    Threads of several processes that compete for the same cores are slower in total. A user's value
    of `TF_NUM_INTRAOP_THREADS` is kept.
    """
    import tensorflow as tf

    if processes > 1 and "TF_NUM_INTRAOP_THREADS" not in os.environ:
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(max(1, num_cores() // processes))


@contextlib.contextmanager
def workers(
    recipe: Any, out: Path, number: int, progress: Progress
) -> Iterator[list[subprocess.Popen[str]]]:
    """Run this many additional processes for stages of a run while the block runs.

    If one dies, another process does its stage. Then there is a warning at the end, with the last
    line that it wrote.

    Args:
        recipe: the run, as data.
        out: the folder of all runs.
        number: of processes, 0 or more.
        progress: receives their bars, from other threads; its exceptions are raised at the end.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        request = {"recipe": str(folder / "recipe.toml"), "out": str(out), "processes": 1 + number}
        if number:
            (folder / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
        yield [stack.enter_context(_worker(request, progress)) for _ in range(number)]


@contextlib.contextmanager
def _worker(request: dict[str, Any], progress: Progress) -> Iterator[subprocess.Popen[str]]:
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tfrs_distill.pipeline.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
            start_new_session=True,  # so that its own child processes end with it
        )
        assert process.stdin is not None and process.stdout is not None
        raised: list[BaseException] = []
        arguments = (process.stdout, progress, raised)
        shown = threading.Thread(target=show_all_bars, args=arguments, daemon=True)
        shown.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
            yield process
            if process.poll():
                errors.seek(0)
                *_, last = ["nothing", *errors.read().splitlines()]
                warnings.warn(f"Another process of the run ended early: {last}", stacklevel=2)
        finally:
            _kill(process)
            shown.join(SECONDS_TO_END)
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        if raised:
            raise raised[0]


def _kill(process: subprocess.Popen[str]) -> None:
    """End a process that leads its own session, and all its child processes."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def show_all_bars(lines: IO[str], progress: Progress, raised: list[BaseException]) -> None:
    """Show a worker's bars, and keep reading after errors: a full pipe would block it."""
    try:
        show_bars(lines, progress)
    except BaseException as error:  # raised again in the main thread
        raised.append(error)
        for _ in lines:
            pass


def show_bars(lines: IO[str], progress: Progress) -> None:
    """Show a worker's bars, until it ends."""
    with contextlib.ExitStack() as stack:
        bars: dict[int, tuple[contextlib.ExitStack, Advance]] = {}
        for line in lines:
            if not line.endswith("\n"):  # it was killed while writing
                break
            number, *event = json.loads(line)
            if number not in bars:
                bar = stack.enter_context(contextlib.ExitStack())
                bars[number] = bar, bar.enter_context(progress.bar(*event))
            elif event:
                bars[number][1](*event)
            else:
                bars.pop(number)[0].close()


class BarsAsJson:
    """A `Progress` that writes every event of its bars as a line, a list with the bar's number.

    The first line of a bar has its description, after the stage's name, and its total; each further
    line has the steps of one advance, and the last line nothing.

    Args:
        file: where to write.
    """

    def __init__(self, file: IO[str]) -> None:
        self.file, self.num_bars, self.of_stage = file, 0, ""

    def stage(self, number: int, total: int, name: str) -> None:
        """Store the name, because the process that shows the bars may be at another stage."""
        self.of_stage = name.replace("_", " ")

    @contextlib.contextmanager
    def bar(self, description: str, total: int) -> Iterator[Advance]:
        """Write the bar's events."""
        self.num_bars += 1
        number = self.num_bars

        def advance(steps: int = 1, note: str = "") -> None:
            self._write(number, steps, note)

        if self.of_stage not in description:
            description = f"{self.of_stage}: {description}"
        self._write(number, description, total)
        try:
            yield advance
        finally:
            self._write(number)

    def done(self, line: str, seconds: float, reused: bool) -> None:
        """Do nothing."""

    def _write(self, *event: Any) -> None:
        self.file.write(json.dumps(event) + "\n")
        self.file.flush()


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Take stages of the run given on standard input, until all are done."""
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # output of libraries

    from tfrs_distill.pipeline.freed_memory import keep_freed_memory
    from tfrs_distill.pipeline.recipe import Recipe
    from tfrs_distill.pipeline.run_folder import Run
    from tfrs_distill.pipeline.stages import stages_of

    share_cores(request["processes"])
    keep_freed_memory()
    recipe = Recipe.from_toml(request["recipe"])
    run = Run(recipe, Path(request["out"]), BarsAsJson(events))
    run.stages.run([stage for stage in stages_of(run) if stage.name not in LAST_STAGES])


if __name__ == "__main__":
    main()

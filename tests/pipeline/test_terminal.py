import io
import re

import pytest
from rich.console import Console

from tfrs_distill.pipeline.terminal import TerminalProgress


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def a_log(**options):
    """A `TerminalProgress` that writes to a file, not to a terminal."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=False, width=40, highlight=False)
    return TerminalProgress(console, **options), file


def a_terminal(width, **options):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, highlight=False)
    return TerminalProgress(console, **options), file


def test_a_log_gets_one_plain_line_per_event():
    progress, file = a_log()
    progress.stage(2, 7, "teacher")
    progress.done("validation NDCG@10 0.196, best of 12 epochs, a line of over 40", 75.4, False)
    progress.stage(3, 7, "knowledge")
    progress.done("kept [as it was]", 0.0, reused=True)
    assert file.getvalue().splitlines() == [
        "[2/7] teacher",
        "      + validation NDCG@10 0.196, best of 12 epochs, a line of over 40 (1 min 15 s)",
        "[3/7] knowledge",
        "      = kept [as it was] (unchanged, not run again)",
    ]


def test_a_log_gets_an_update_from_a_long_bar_and_none_from_a_short_one():
    clock = Clock()
    progress, file = a_log(seconds_between_lines=10, clock=clock)
    with progress.bar("epochs", total=4) as advance:
        clock.now = 6.0
        advance(note="epoch 1")
        clock.now = 12.0  # 2 of 4 in 12 s: 12 s are left
        advance(note="epoch 2")
        clock.now = 18.0
        advance(note="epoch 3")
        clock.now = 24.0  # 12 s after the last line
        advance(note="epoch 4")
    assert file.getvalue().splitlines() == [
        "      epochs 2/4, epoch 2, 12 s left",
        "      epochs 4/4, epoch 4, 0.0 s left",
    ]


def test_steps_count():
    clock = Clock()
    progress, file = a_log(seconds_between_lines=1, clock=clock)
    with progress.bar("items", total=100) as advance:
        clock.now = 5.0  # 25 of 100 in 5 s: 15 s are left
        advance(25)
    assert file.getvalue() == "      items 25/100, 15 s left\n"


def test_a_log_has_no_control_characters():
    progress, file = a_log(seconds_between_lines=0)
    progress.stage(1, 1, "data")
    with progress.bar("reading", total=2) as advance:
        advance()
    progress.done("done", 1.0, reused=False)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", file.getvalue())


def test_a_terminal_shows_percentage_remaining_time_and_the_note():
    progress, file = a_terminal(width=120)
    with progress.bar("epochs", total=4) as advance:
        advance(note="epoch 1  val ndcg@10 0.196")
    shown = file.getvalue()
    for words in ("epochs", "25%", "left", "epoch 1  val ndcg@10 0.196"):
        assert words in shown


@pytest.mark.parametrize("width", [1, 7, 20, 40, 71, 72])
def test_a_narrow_terminal_wraps_nothing(width):
    progress, file = a_terminal(width=width)
    progress.stage(1, 7, "knowledge")
    with progress.bar("labelling the training examples", total=3) as advance:
        for step in range(3):
            advance(note=f"fold {step} of a long, long description [bold]")
    progress.done("a result that is longer than the terminal is wide", 3.0, reused=False)
    assert file.getvalue()


def test_square_brackets_are_text():
    progress, file = a_terminal(width=120)
    with progress.bar("[bold] films", total=1) as advance:
        advance(note="[red] note")
    assert "[bold] films" in file.getvalue() and "[red] note" in file.getvalue()


def test_an_error_inside_a_bar_passes_and_the_cursor_is_restored():
    progress, file = a_terminal(width=80)
    with pytest.raises(KeyboardInterrupt):
        with progress.bar("epochs", total=2):
            raise KeyboardInterrupt
    assert file.getvalue().rstrip().endswith(("\x1b[?25h", "\x1b[2K"))
    assert "\x1b[?25h" in file.getvalue()


def test_bars_of_two_threads_are_shown_at_the_same_time():
    progress, file = a_terminal(width=120)
    with progress.bar("teacher", total=4) as of_teacher:
        with progress.bar("twin", total=2) as of_twin:
            of_twin(note="epoch 1")
            of_teacher(note="fold 3")
            progress.done("a line above both", 1.0, reused=False)
        of_teacher()
    shown = file.getvalue()
    frame = shown.split("a line above both")[1]
    assert "twin" in frame and "teacher" in frame and "fold 3" in frame
    assert "\x1b[?25h" in shown
    with progress.bar("next", total=1) as advance:  # a separate display
        advance()
    assert "next" in file.getvalue()

"""The cost of reading a large table, of a large evaluation and of a hyperparameter search.

    python benchmarks/own_data.py [--quick] [--rows 20000000] [--users 1000000] [--items 100000]
        [--trials 20] [--json FILE]

Writes a table of made-up interactions to a temporary folder, as CSV and as Parquet, and reads each
with `td.data.read_table` in its own process, compared with `pandas.read_csv` of the same columns,
which numbers no ids and checks nothing. Memory is the process' peak minus its peak before reading.

Then `td.evaluate` of a student of width 64 for 100,000 users x 100,000 items, compared with the
bare product of its embeddings, as in `python benchmarks/evaluation.py --large`: all scores together
would be 40 GB.

Then `tfrs-distill tune` on planted data (`--trials` of the student and of its twin), interrupted
half way through the student's trials and resumed: the final number of trials, and the overhead of a
trial in addition to its training.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import evaluation
import numpy as np
from rows import Row, publish, row

BLOCK = 1_000_000
READ = """
import json, re, sys, time
from pathlib import Path
{imports}

def peak():  # of this process alone; getrusage starts with the parent's peak
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

before, start = peak(), time.perf_counter()
found = {read}
seconds = time.perf_counter() - start
print(json.dumps([len(found), seconds, peak() - before]))
"""
READERS = {
    "read_table, csv": (
        "from tfrs_distill.data import read_table",
        "read_table(sys.argv[1] + '.csv')",
    ),
    "read_table, parquet": (
        "from tfrs_distill.data import read_table",
        "read_table(sys.argv[1] + '.parquet')",
    ),
    "pandas.read_csv": ("import pandas", "pandas.read_csv(sys.argv[1] + '.csv')"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, as a smoke test")
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.trials = 4
        arguments.rows, arguments.users, arguments.items = 200_000, 10_000, 1_000
    found = []
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table"
        write(table, arguments.rows, arguments.users, arguments.items)
        for name, (imports, read) in READERS.items():
            script = READ.format(imports=imports, read=read)
            command = [sys.executable, "-c", script, str(table)]
            answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            num_rows, seconds, peak = json.loads(answer.splitlines()[-1])
            if num_rows != arguments.rows:
                raise SystemExit(f"{name} read {num_rows} rows of {arguments.rows}.")
            detail = f"{num_rows:,} rows, {num_rows / seconds / 1e6:.2f} million a second"
            found.append(row(f"{name}: seconds", seconds, "s", "", detail))
            found.append(
                row(f"{name}: peak memory", peak, "bytes", "", f"{peak / num_rows:.0f} bytes a row")
            )
    found += evaluation.large(evaluation.QUICK_LARGE if arguments.quick else evaluation.LARGE)
    with tempfile.TemporaryDirectory() as folder:
        found += interrupted_search(Path(folder), arguments.trials)
    publish(found, arguments.json)


def interrupted_search(out: Path, num_trials: int) -> list[Row]:
    """The result rows of a search that is interrupted half way through the student's trials."""
    size = ["--recipe", "synthetic", "--quick", "--trials", str(num_trials), "--out", str(out)]
    command = [sys.executable, "-u", "-m", "tfrs_distill", "tune", *size]
    half = f"[{num_trials // 2}/{num_trials}] student"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if line.startswith(half):
                process.send_signal(signal.SIGINT)
        if process.wait() != 130:
            raise SystemExit(f"The search was to be interrupted: exit code {process.returncode}.")
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    (folder,) = out.glob("*/tune")
    studies = json.loads((folder / "tune.json").read_text())["studies"]
    trials = [trial for study in studies.values() for trial in study["trials"]]
    complete = [trial for trial in trials if trial["state"] == "complete"]
    notes = [*folder.glob("trials/student-*/done.json"), *folder.glob("trials/twin-*/done.json")]
    training = sum(json.loads(note.read_text())["seconds"] for note in notes)
    others = [  # data, teacher and knowledge of the first trial
        json.loads(note.read_text())["seconds"]
        for note in folder.glob("trials/*/done.json")
        if note not in notes
    ]
    overhead = sum(trial["seconds"] for trial in complete) - training - sum(others)
    detail = f"{len(complete)} complete, {len(trials) - len(complete)} stopped early"
    return [
        row(
            "tune: trials, interrupted and resumed", len(trials), "", f">= {2 * num_trials}", detail
        ),
        row(
            "tune: seconds a trial beside its training",
            overhead / len(complete),
            "s",
            "",
            f"training {training / len(complete):.1f} s a trial",
        ),
    ]


def write(table: Path, num_rows: int, num_users: int, num_items: int) -> None:
    """Write a million rows at a time; items follow a power law, as in real data."""
    import pyarrow
    from pyarrow import csv, parquet

    random, start = np.random.default_rng(0), 1_600_000_000
    schema = pyarrow.schema(
        [("user", pyarrow.string()), ("item", pyarrow.string()), ("time", pyarrow.int64())]
    )
    with (
        csv.CSVWriter(f"{table}.csv", schema) as as_csv,
        parquet.ParquetWriter(f"{table}.parquet", schema) as as_parquet,
    ):
        for first in range(0, num_rows, BLOCK):
            number = min(BLOCK, num_rows - first)
            users = random.integers(0, num_users, number)
            items = (num_items * random.random(number) ** 3).astype(np.int64)
            columns = [
                pyarrow.array([f"user-{user}" for user in users]),
                pyarrow.array([f"SKU-{item:06d}" for item in items]),
                pyarrow.array(start + first + np.arange(number)),
            ]
            block = pyarrow.table(columns, schema=schema)
            as_csv.write_table(block)
            as_parquet.write_table(block)


if __name__ == "__main__":
    main()

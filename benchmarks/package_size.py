"""The size of the package: lines, public names, import cycles, tests, cost of an addition.

    python benchmarks/package_size.py [--json FILE]

Everything is read from the current code; nothing is trained. Takes about 20 seconds, most of them
for pytest to collect the tests.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from rows import Row, publish, row

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tfrs_distill"
# One existing example of each kind. The files that name it are those that another one of its kind
# would change, its own file included.
EXAMPLES = {
    "loss": r"\bListMLEDistillation\b|list_mle_distillation",
    "teacher_kind": r"\bItemItemTeacher\b|\bItemItem\b|item-item|item_item_teacher",
    "task": r"\bOrdinal\b|\bordinal\b",
    "metric": r"\bmrr\b|reciprocal_rank",
    "export_form": r"\bstudent_int8\b|tflite_int8",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    publish(figures(), parser.parse_args().json)


def figures() -> list[Row]:
    files = sorted(PACKAGE.rglob("*.py"))
    folders = sorted(
        {path.relative_to(PACKAGE).parts[0] for path in files if path.parent != PACKAGE}
    )
    modules = sorted(path.name for path in PACKAGE.glob("*.py"))
    names = public_names()
    circles = import_circles(files)
    rows = [
        row("package_lines", sum(map(lines_of, files)), "lines", "", f"{len(files)} files"),
        row("root_folders", len(folders), "folders", "<= 11", " ".join(folders)),
        row("root_files", len(modules), "files", "<= 8", " ".join(modules)),
        row("public_names", len(names), "names", "<= 120", "classes, functions, constants"),
        row("import_circles", len(circles), "circles", "<= 0", "; ".join(map(" ".join, circles))),
    ]
    for kind, pattern in EXAMPLES.items():
        named = [path for path in files if re.search(pattern, path.read_text(encoding="utf-8"))]
        where = " ".join(path.relative_to(PACKAGE).as_posix() for path in named)
        rows.append(row(f"files_naming_a_{kind}", len(named), "files", "<= 2", where))
    for marker in ("not nightly", "nightly"):
        rows.append(row(f"tests_{marker.replace(' ', '_')}", count_tests(marker), "tests", "", ""))
    return rows


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def public_names() -> set[str]:
    """The names of `tests/public_api.txt`, without packages and the members of classes."""
    lines = (ROOT / "tests" / "public_api.txt").read_text(encoding="utf-8").splitlines()
    paths = [re.split(r"[( ]", line)[0].split(".") for line in lines]
    packages = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    return {path[-1] for path in paths if path[-1] not in packages and not path[-2][0].isupper()}


def import_circles(files: list[Path]) -> list[list[str]]:
    """Modules that import each other, directly or indirectly; imports for types count too."""
    modules = {module_of(path): path for path in files}
    imports = {name: set(imported_by(path, modules)) - {name} for name, path in modules.items()}
    return sorted(sorted(circle) for circle in strongly_connected(imports) if len(circle) > 1)


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_by(path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """Package modules that a file imports; an `__init__` only if it is imported itself."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in modules or node.module in modules:
                    yield whole if whole in modules else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)


def strongly_connected(graph: dict[str, set[str]]) -> list[set[str]]:
    """Sets of nodes each of which reaches all others of its set."""
    reached = {node: reachable(graph, node) for node in graph}
    found: list[set[str]] = []
    for node in graph:
        if not any(node in circle for circle in found):
            found.append({node} | {to for to in reached[node] if node in reached[to]})
    return found


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting.extend(graph[node])
    return seen


def count_tests(marker: str) -> int:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n", "0", "-m", marker]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    found = re.search(r"(\d+)(?:/\d+)? tests collected", printed)
    return int(found[1]) if found else 0


if __name__ == "__main__":
    main()

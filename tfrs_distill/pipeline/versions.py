"""What the numbers of a report were made with."""

from __future__ import annotations

import importlib.metadata
import platform

PACKAGES = ("tensorflow", "tf-keras", "tensorflow-recommenders", "transformers", "numpy")


def versions() -> dict[str, str]:
    """What the numbers were made with."""
    return {"python": platform.python_version()} | {
        package: importlib.metadata.version(package) for package in PACKAGES
    }

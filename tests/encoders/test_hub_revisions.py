"""A Hub id may name a revision; the commit that is read is the encoder's identity."""

from __future__ import annotations

import huggingface_hub
import pytest

from speechft.core.errors import CheckpointError
from speechft.core.files import read_json
from speechft.encoders import build_encoder, load_encoder
from speechft.encoders.convert import convert
from speechft.encoders.identity import encoder_id, hub_commit
from speechft.encoders.settings import ConvertSettings

COMMITS = {None: "a" * 40, "v1": "b" * 40}


@pytest.fixture
def hub(tiny_config, tmp_path, monkeypatch):
    """A Hub of two commits, laid out as its cache is; gives what was downloaded."""
    hub_commit.cache_clear()
    for seed, commit in enumerate(COMMITS.values()):
        build_encoder(tiny_config("hubert"), seed).save(tmp_path / "snapshots" / commit)
    asked = []

    class Info:
        def __init__(self, sha):
            self.sha = sha

    def model_info(_api, repo, *, revision, timeout):
        if revision not in COMMITS:
            raise OSError("no such revision")
        return Info(COMMITS[revision])

    def download(repo, *, revision, **_options):
        if revision not in COMMITS.values():
            raise FileNotFoundError(revision)
        asked.append((repo, revision))
        return str(tmp_path / "snapshots" / revision)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    yield asked
    hub_commit.cache_clear()


def test_the_revision_that_is_named_is_read(hub):
    names = ("owner/name", "owner/name@v1", f"owner/name@{COMMITS['v1']}")
    latest, tagged, pinned = (load_encoder(name).fingerprint() for name in names)
    assert tagged == pinned != latest
    assert hub == [("owner/name", COMMITS[r]) for r in (None, "v1", "v1")]


def test_the_commit_is_the_identity(hub):
    assert encoder_id("owner/name") == f"hub owner/name@{COMMITS[None]}"
    assert encoder_id("owner/name@v1") == encoder_id(f"owner/name@{COMMITS['v1']}")
    assert encoder_id("owner/name@v1") == f"hub owner/name@{COMMITS['v1']}"
    assert not hub


def test_provenance_names_the_commit(hub, tmp_path):
    out = convert(ConvertSettings(source="owner/name@v1", target=tmp_path / "out", to="hf"))
    depends = read_json(out / "speechft.json")["depends"]
    assert depends["source"] == f"hub owner/name@{COMMITS['v1']}"


def test_a_revision_that_is_not_there(hub):
    with pytest.raises(CheckpointError, match="Hub could not be reached"):
        load_encoder("owner/name@never")


def test_without_a_network_the_kept_commit_counts(hub, monkeypatch, tmp_path):
    def kept(repo, *, revision, local_files_only):
        assert local_files_only
        return str(tmp_path / "snapshots" / COMMITS[None])

    def unreachable(*_args, **_options):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", kept)
    assert encoder_id("owner/name") == f"hub owner/name@{COMMITS[None]}"

"""`push` against a stand-in of the Hub's HTTP interface on this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml
from evaluate_fixture import CONFIG
from safetensors.numpy import save_file

from speechft.cli.app import main
from speechft.core.errors import CheckpointError, DataError, SettingsError
from speechft.core.files import write_json, write_jsonl
from speechft.encoders import build_encoder, load_encoder
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge
from speechft.reporting.push import _scores, public_record, push
from speechft.reporting.settings import PushSettings

TOKEN = "hf_" + "x" * 34


class Hub(ThreadingHTTPServer):
    """Keeps what is uploaded: repositories, large files by hash, commits."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        self.repos: dict[str, dict] = {}
        self.large: dict[str, bytes] = {}
        self.commits: list[dict] = []


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        return

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, value: object, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_PUT(self) -> None:
        data = self.body()
        self.server.large[hashlib.sha256(data).hexdigest()] = data
        self.answer({})

    def do_GET(self) -> None:
        self.answer({"error": f"unknown address {self.path}"}, 404)

    def do_POST(self) -> None:
        data = self.body()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer({"error": "Invalid credentials"}, 401)
        if self.path == "/api/repos/create":
            request = json.loads(data)
            name = f"{request['organization']}/{request['name']}"
            known = name in self.server.repos
            self.server.repos.setdefault(name, request)
            return self.answer(
                {"url": f"{self.server.endpoint}/{name}", "id": name}, 409 if known else 200
            )
        if self.path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            files = [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if f["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for f in json.loads(data)["files"]
            ]
            return self.answer({"files": files})
        if self.path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**o, "actions": {"upload": {"href": f"{self.server.endpoint}/lfs/{o['oid']}"}}}
                for o in json.loads(data)["objects"]
            ]
            return self.answer({"transfer": "basic", "objects": objects})
        if "/commit/" in self.path:
            lines = [json.loads(line) for line in data.splitlines()]
            self.server.commits.append({"path": self.path, "lines": lines})
            url = f"{self.server.endpoint}/me/encoder/commit/abc"
            return self.answer({"success": True, "commitOid": "abc", "commitUrl": url})
        return self.answer({"error": f"unknown address {self.path}"}, 404)


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    folders = []
    for seed, name in enumerate(("base", "tuned")):
        folder = tmp_path / "home" / name
        folder.mkdir(parents=True)
        state = np.random.default_rng(seed).standard_normal((4, 4), dtype=np.float32)
        save_file({"encoder.layers.0.x": state}, folder / "model.safetensors")
        (folder / "config.json").write_text('{"architectures": ["HubertModel"]}')
        folders.append(folder)
    return merge(MergeSettings(base=folders[0], tuned=folders[1:], out=tmp_path / "out"))


def run(hub: Hub, *arguments: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ, "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "*",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "speechft", "push", *arguments],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_push_uploads_all_in_one_commit(hub: Hub, encoder: Path):
    done = run(hub, str(encoder), "me/encoder", "--private", "--message", "First")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{hub.endpoint}/me/encoder/commit/abc"
    repository = hub.repos["me/encoder"]
    assert repository.get("visibility") == "private" or repository.get("private") is True
    (commit,) = hub.commits
    assert commit["path"] == "/api/models/me/encoder/commit/main"
    header, *operations = commit["lines"]
    assert header["value"]["summary"] == "First"
    plain = {
        o["value"]["path"]: base64.b64decode(o["value"]["content"])
        for o in operations
        if o["key"] == "file"
    }
    large = {o["value"]["path"]: o["value"]["oid"] for o in operations if o["key"] == "lfsFile"}
    assert set(plain) == {"README.md", "config.json", "heard.gz", "speechft.json"}
    assert plain["README.md"] == (encoder / "README.md").read_bytes()
    assert set(large) == {"model.safetensors"}
    assert hub.large[large["model.safetensors"]] == (encoder / "model.safetensors").read_bytes()
    # Where the parents lie on this machine is nobody's business.
    assert str(encoder.parent) in (encoder / "speechft.json").read_text()
    assert str(encoder.parent).encode() not in b"".join(plain.values())
    record = json.loads(plain["speechft.json"])
    assert set(record["parents"]) == {"base", "tuned"}
    again = run(hub, str(encoder), "me/encoder")
    assert again.returncode == 0, again.stderr


def test_nothing_private_is_sent(hub: Hub, encoder: Path, tmp_path: Path):
    home = str(tmp_path / "home" / "someone")
    config = json.loads((encoder / "config.json").read_text())
    private = {"_name_or_path": f"{home}/run", "paths": [f"{home}/x", "kept"], "in": {"a": home}}
    write_json(encoder / "config.json", config | private | {"hub": "owner/name"})
    record = json.loads((encoder / "speechft.json").read_text())
    said = record["settings"] | {"note": f"made in {home}/runs", "data": f"sid={home}/table.csv"}
    write_json(encoder / "speechft.json", record | {"settings": said, "host": "somewhere"})
    for name in ("notes.txt", "modelling_notes.safetensors", "speechft.json.bak"):
        (encoder / name).write_text(home)
    done = run(hub, str(encoder), "me/encoder")
    assert done.returncode == 0, done.stderr
    values = [line["value"] for line in hub.commits[0]["lines"][1:]]
    plain = {v["path"]: base64.b64decode(v["content"]) for v in values if "content" in v}
    sent = sorted(value["path"] for value in values)
    listed = "README.md, config.json, heard.gz, model.safetensors, "
    listed += "preprocessor_config.json, speechft.json"
    if "preprocessor_config.json" not in sent:
        listed = listed.replace(" preprocessor_config.json,", "")
    assert sent == listed.split(", ")
    assert listed in " ".join(done.stderr.split())
    assert b"someone" not in b"".join(plain.values())
    assert b"somewhere" not in plain["speechft.json"]
    assert json.loads(plain["config.json"]) == config | {
        "paths": ["kept"], "in": {}, "hub": "owner/name",
    }  # fmt: skip


def test_what_a_model_with_a_head_needs_is_sent(hub: Hub, encoder: Path, tmp_path: Path):
    """A recogniser that lacked its vocabulary ran where it was made, and nowhere else."""
    home = str(tmp_path / "home" / "someone")
    needed = {"vocab.json": {"a": 0, "/": 1}, "processor_config.json": {"x": home, "y": 1}}
    needed["tokenizer_config.json"] = {"name_or_path": home, "unk_token": "</s>"}
    for name, value in needed.items():
        write_json(encoder / name, value)
    done = run(hub, str(encoder), "me/encoder")
    assert done.returncode == 0, done.stderr
    values = [line["value"] for line in hub.commits[0]["lines"][1:]]
    plain = {v["path"]: base64.b64decode(v["content"]) for v in values if "content" in v}
    assert {name: json.loads(plain[name]) for name in needed} == {
        "vocab.json": needed["vocab.json"],
        "processor_config.json": {"y": 1},
        "tokenizer_config.json": {"unk_token": "</s>"},
    }


@pytest.mark.parametrize("name", ["README.md", "config.json", "extras.safetensors"])
def test_links_are_not_followed(hub: Hub, encoder: Path, tmp_path: Path, name: str):
    (tmp_path / "secret").write_text((encoder / "config.json").read_text())
    (encoder / name).unlink(missing_ok=True)
    (encoder / name).symlink_to(tmp_path / "secret")
    done = run(hub, str(encoder), "me/encoder")
    assert done.returncode == 4
    assert name in done.stderr
    assert not hub.commits


def test_a_wrong_token_is_said(hub: Hub, encoder: Path):
    done = run(hub, str(encoder), "me/encoder", token="hf_" + "y" * 34)
    assert done.returncode == 2
    assert "refused access" in done.stderr
    assert "hf auth login" in done.stderr
    assert "Traceback" not in done.stderr
    assert not hub.commits


def test_no_hub_is_said(hub: Hub, encoder: Path):
    hub.endpoint = "http://127.0.0.1:9"
    done = run(hub, str(encoder), "me/encoder")
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr


def test_offline_mode_is_said(hub: Hub, encoder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = run(hub, str(encoder), "me/encoder")
    assert done.returncode == 1
    assert "offline mode is on" in done.stderr
    assert "HF_HUB_OFFLINE" in done.stderr


def test_only_whole_encoders_are_pushed(encoder: Path, tmp_path: Path):
    with pytest.raises(SettingsError, match="no repository name"):
        push(PushSettings(folder=encoder, repo="encoder"))
    with pytest.raises(CheckpointError, match="no encoder in the Hugging Face layout"):
        push(PushSettings(folder=tmp_path, repo="me/encoder"))
    weights = encoder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="whole safetensors"):
        push(PushSettings(folder=encoder, repo="me/encoder"))


def test_an_encoder_without_a_card_gets_one(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """As fine-tuning leaves it in its run's folder, with the run's provenance."""
    run_folder = tmp_path / "runs" / "sid"
    build_encoder(dict(CONFIG), seed=0).save(run_folder / "encoder")
    (run_folder / "encoder" / "head.safetensors").write_bytes(b"head")
    tuned = {"encoder": "facebook/hubert-base-ls960", "task": "sid", "steps": 600}
    tuned |= {"data": f"{tmp_path}/secret/table.csv", "method": "stable"}
    write_json(run_folder / "speechft.json", {"stage": "finetune", "settings": tuned})
    fingerprint = load_encoder(run_folder).fingerprint()
    record = {"task": "sid", "metric": "acc", "value": 80.0, "encoder_hash": fingerprint}
    write_jsonl(tmp_path / "scores" / "seed-0" / "results.jsonl", [record])
    done = run(hub, str(run_folder), "me/encoder", "--scores", str(tmp_path / "scores"))
    assert done.returncode == 0, done.stderr
    plain = {
        o["value"]["path"]: base64.b64decode(o["value"]["content"]).decode()
        for o in hub.commits[0]["lines"][1:]
        if o["key"] == "file"
    }
    card = plain["README.md"]
    front = yaml.safe_load(card.split("---")[1])
    assert front["base_model"] == ["facebook/hubert-base-ls960"]
    assert front["base_model_relation"] == "finetune"
    assert "# sid\n" in card
    assert "`speechft finetune`" in card
    assert "| data | table.csv |" in card
    assert "`head.safetensors`" in card
    assert "| sid | acc | 80.00 |" in card
    assert str(tmp_path) not in "".join(plain.values())
    assert json.loads(plain["speechft.json"])["stage"] == "finetune"
    for wrong in (tmp_path / "nowhere", tmp_path / "runs"):
        with pytest.raises(SystemExit) as ended:
            main(["push", str(run_folder), "me/encoder", "--scores", str(wrong)])
        assert ended.value.code == 3
        assert "Traceback" not in capsys.readouterr().err


def test_scores_that_were_measured_in_two_ways_have_no_mean(hub: Hub, tmp_path: Path):
    """Of several evaluations of one encoder a card would show figures that nobody has measured."""
    folder = build_encoder(dict(CONFIG), seed=0).save(tmp_path / "encoder")
    record = {"task": "pr", "metric": "per", "encoder_hash": load_encoder(folder).fingerprint()}
    rows = [{"seed": seed, "value": 10.0 + seed, "data_hash": "a", **record} for seed in (0, 1)]
    write_jsonl(tmp_path / "one" / "results.jsonl", rows)
    write_jsonl(tmp_path / "same" / "results.jsonl", rows[:1])
    rows = [row | {"head": "mini", "encoder_id": "x"} for row in rows]
    write_jsonl(tmp_path / "one" / "results.jsonl", rows)
    of_others = [{"seed": 2, name: "other"} for name in ("data_hash", "head", "encoder_id")]
    for changed in (*of_others, {"value": 50.0}, {"protocol": "s3prl"}):
        write_jsonl(tmp_path / "other" / "results.jsonl", [rows[0] | changed])
        scores = (tmp_path / "one", tmp_path / "other")
        with pytest.raises(DataError, match="pr per was measured in two ways"):
            push(PushSettings(folder=folder, repo="me/encoder", scores=scores))
    assert not hub.commits
    assert _scores(folder, [tmp_path / "one", tmp_path / "same"]) == {"pr": {"per": 10.5}}


def test_public_records_keep_ids_and_lose_paths():
    record = {
        "parents": {"/home/me/runs/sid/encoder": "ab", "facebook/hubert-base-ls960": "cd"},
        "settings": {"tuned": ["../x/y"], "alpha": 0.25, "formula": "θ0 + 0.25 · x"},
        "inside": "table.csv through /home/me/runs/sid/encoder",
        "relative": ["runs/sid/encoder", "https://example.org/a/b"],
    }
    assert public_record(record) == {
        "parents": {"sid": "ab", "facebook/hubert-base-ls960": "cd"},
        "settings": {"tuned": ["y"], "alpha": 0.25, "formula": "θ0 + 0.25 · x"},
        "inside": "table.csv through sid",
        "relative": ["sid", "https://example.org/a/b"],
    }

"""`predict` as users meet it: heads of every kind, long files, broken ones, wrong pairs."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import soundfile
import torch
from evaluate_fixture import CONFIG, evaluation
from finetune_fixture import settings as tuning
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from speechft.cli.app import main
from speechft.core.errors import CheckpointError, SettingsError
from speechft.core.files import read_json, read_jsonl, write_json
from speechft.core.settings import parse_settings
from speechft.data.audio import read_audio
from speechft.encoders import build_encoder, load_encoder
from speechft.pipeline.parallel_evaluation import evaluate
from speechft.prediction.predict import join, predict, windows
from speechft.prediction.settings import PredictSettings
from speechft.tasks import task_from_dict
from speechft.tasks.kept_head import HeadRecord, find_heads, read_head, write_head
from speechft.training.finetune.stage import finetune

TASKS = {
    "asr": {"symbols": ["|", "A", "B"]},
    "pr": {"symbols": ["AA", "B"]},
    "sf": {"symbols": [" ", "A", "B-city", "E-city"]},
    "pc": {"classes": ["a", "b", "sil"]},
    "sid": {"groups": {"speaker": ["ann", "bob"]}},
    "ks": {"groups": {"keyword": ["go", "stop"]}},
    "ic": {"groups": {"action": ["up", "down"], "object": ["heat", "light"]}},
    "sd": {"speakers": 2, "point": [0.5, 1]},
    "asv": {"speakers": ["ann", "bob"]},
}


def noise(seconds, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * 16000))


def put_head(folder, encoder, task, **more):
    made = task_from_dict({"task": task, **TASKS[task]})
    torch.manual_seed(1)
    head = made.build_head(16, purpose="finetune", size="mini")
    for parameter in head.parameters():
        parameter.data *= 3
    record = {"task": made.to_dict(), "purpose": "finetune", "size": "mini", "width": 16}
    record |= {"encoder": encoder.fingerprint(), **more}
    write_head(folder / "head.safetensors", head.state_dict(), HeadRecord(**record))
    return made, head.eval()


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    soundfile.write(folder / "short.wav", noise(1.0), 16000)
    soundfile.write(folder / "phone.flac", np.stack([noise(1.2, 1)] * 2, axis=1)[::2], 8000)
    soundfile.write(folder / "long.wav", noise(9.0, 2), 16000)
    return folder


@pytest.fixture
def home(tmp_path):
    encoder = build_encoder(dict(CONFIG), seed=0)
    encoder.save(tmp_path / "encoder")
    return tmp_path / "encoder", encoder


def run(folder, *audio, **values):
    plain = {"encoder": folder, "audio": tuple(map(str, audio)), "device": "cpu", **values}
    return predict(parse_settings(PredictSettings, plain, where="test"))


@pytest.mark.parametrize("task", sorted(set(TASKS) - {"asv"}))
def test_a_short_file_has_the_answer_of_encoder_and_head(home, audio, task):
    folder, encoder = home
    made, head = put_head(folder, encoder, task)
    wave = read_audio(audio / "short.wav") * (10 ** (-3 / 20) if task == "ks" else 1)
    with torch.no_grad():
        output = encoder([wave])
        logits = head(output.hidden_states[-1], output.lengths)
    (wanted,) = made.decode(logits, output.lengths)
    found, _ = run(folder, audio / "short.wav", audio / "phone.flac")
    place = {"file": str(audio / "short.wav"), "start": 0.0, "end": 1.0, "task": task}
    assert found.items() >= place.items()
    answer = found[made.answer]
    if task in ("asr", "pr", "sf"):
        assert answer == wanted
        assert answer or task == "sf"
    elif task == "pc":
        spread = [[name] * round((end - begin) * 50) for name, begin, end in answer]
        assert sum(spread, []) == wanted  # noqa: RUF017
    elif task == "sd":
        active = [round(b * 50) for _, b, _ in answer]
        assert len(active) == sum(
            int(column[0] > 0.5) + int(((column[1:] > 0.5) & (column[:-1] <= 0.5)).sum())
            for column in wanted.T
        )
    else:
        assert (list(answer.values()) if isinstance(answer, dict) else answer) == wanted
        likely = found["probabilities"]
        first = next(iter(likely.values())) if task == "ic" else likely
        assert sum(first.values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("task", ["asr", "sid", "ic", "sd"])
def test_a_long_file_is_joined_of_windows(home, audio, task):
    folder, encoder = home
    made, _ = put_head(folder, encoder, task)
    long = audio / "long.wav"
    (whole,), (parts,) = run(folder, long), run(folder, long, window=3, overlap=1)
    assert parts.keys() == whole.keys()
    assert parts["end"] == whole["end"] == 9.0
    if made.answer == "label":
        flat = [next(iter(r["probabilities"].values())) for r in (whole, parts)]
        scores = [next(iter(f.values())) if isinstance(f, dict) else f for f in flat]
        assert scores[1] == pytest.approx(scores[0], abs=0.1)
    else:
        assert len(str(parts[made.answer])) == pytest.approx(len(str(whole[made.answer])), rel=0.3)


def test_frames_are_joined_without_loss_and_speakers_in_one_order():
    spans = windows(16000 * 100 + 77, 16000 * 30, 16000 * 4, 320)
    assert spans[0][0] == 0
    assert spans[-1][1] == 16000 * 100 + 77
    assert all(begin % 320 == 0 for begin, _ in spans)
    assert all(a[1] - b[0] >= 16000 * 4 for a, b in pairwise(spans))
    truth = torch.randn(5003, 2) * 5
    frames = [truth[b // 320 : (e - 80) // 320] for b, e in spans]
    ctc = task_from_dict({"task": "pr", **TASKS["pr"]})
    assert torch.equal(join(ctc, spans, frames, 320), truth[: (spans[-1][1] - 80) // 320])
    turned = [own[:, [1, 0]] if i % 2 else own for i, own in enumerate(frames)]
    speakers = task_from_dict({"task": "sd", **TASKS["sd"]})
    assert torch.equal(join(speakers, spans, turned, 320), join(ctc, spans, frames, 320))
    assert not torch.equal(join(ctc, spans, turned, 320), join(ctc, spans, frames, 320))


def test_classes_are_averaged_by_probability_and_length():
    task = task_from_dict({"task": "sid", **TASKS["sid"]})
    sure, unsure = torch.tensor([9.0, 0.0]), torch.tensor([0.0, 0.1])
    spans = [(0, 3000), (2000, 3000)]
    found = task.present(join(task, spans, [sure, unsure], 320))
    weighted = 0.75 * sure.softmax(0)[0] + 0.25 * unsure.softmax(0)[0]
    assert found["label"] == "ann"
    assert found["probabilities"]["ann"] == pytest.approx(float(weighted), abs=1e-5)


def test_bad_files_stop_no_others_and_end_with_the_code_of_bad_data(home, audio, tmp_path, capsys):
    folder, encoder = home
    put_head(folder, encoder, "sid")
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "empty.wav").touch()
    (bad / "text.wav").write_text("hello")
    soundfile.write(bad / "nan.wav", np.full(16000, np.nan), 16000, subtype="FLOAT")
    soundfile.write(bad / "tiny.wav", noise(0.01), 16000)
    (tmp_path / "none").mkdir()
    names = [bad, audio / "short.wav", tmp_path / "none", tmp_path / "gone.wav"]
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(folder), *map(str, names), "--device", "cpu"])
    assert ended.value.code == 3
    printed = capsys.readouterr()
    (line,) = printed.out.splitlines()
    assert line.split("\t")[0] == str(audio / "short.wav")
    assert line.split("\t")[1] in ("ann", "bob")
    for name in ("empty", "text", "nan", "tiny", "none", "gone"):
        assert name in printed.err
    assert "6 of 7 recordings" in printed.err
    assert "Traceback" not in printed.err


def test_a_table_and_its_rows(home, audio, tmp_path):
    folder, encoder = home
    put_head(folder, encoder, "asr")
    rows = [f"{audio}/long.wav,0,1,test", f"{audio}/gone.wav,,,test", f"{audio}/short.wav,,,dev"]
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["audio,start,end,split", *rows]) + "\n")
    bad, first, second = run(folder, table)
    assert "row 3" in bad["error"]
    assert (first["id"], first["start"], first["end"]) == ("t-000002", 0.0, 1.0)
    assert second["file"] == f"{audio}/short.wav"
    assert [r["file"] for r in run(folder, table, split="dev") if "error" not in r] == [
        f"{audio}/short.wav"
    ]


def test_forms(home, audio, tmp_path, capsys):
    folder, encoder = home
    put_head(folder, encoder, "sd")
    out = tmp_path / "turns.rttm"
    (record,) = run(folder, audio / "long.wav", out=out)
    lines = out.read_text().splitlines()
    assert len(lines) == len(record["turns"]) > 0
    assert lines[0].startswith("SPEAKER long 1 ")
    assert len(lines[0].split()) == 10
    with pytest.raises(SettingsError, match="there already"):
        run(folder, audio / "long.wav", out=out)
    again = run(folder, audio / "long.wav", out=out, overwrite=True, format="jsonl")
    assert json.loads(out.read_text()) == json.loads(json.dumps(again[0]))
    put_head(folder, encoder, "asr")
    with pytest.raises(SettingsError, match="who speaks when"):
        run(folder, audio / "long.wav", format="rttm")


def test_what_compares_recordings_says_so(home, audio):
    folder, encoder = home
    put_head(folder, encoder, "asv")
    with pytest.raises(SettingsError, match="whether two utterances"):
        run(folder, audio / "short.wav")


def test_a_pair_that_does_not_belong_together_is_refused(home, audio, tmp_path):
    folder, encoder = home
    put_head(folder, encoder, "sid")
    head = folder / "head.safetensors"
    build_encoder(dict(CONFIG), seed=1).save(tmp_path / "other")
    build_encoder({**CONFIG, "hidden_size": 8}, seed=1).save(tmp_path / "narrow")
    with pytest.raises(CheckpointError, match="there is no head"):
        run(tmp_path / "other", audio / "short.wav")
    config = tmp_path / "other" / "config.json"
    plain = config.read_text(encoding="utf-8")
    config.write_text(json.dumps(json.loads(plain) | {"architectures": ["HubertForCTC"]}))
    with pytest.raises(CheckpointError, match=r"HubertForCTC: pipeline\('automatic-speech-rec"):
        run(tmp_path / "other", audio / "short.wav")
    config.write_text(plain, encoding="utf-8")
    with pytest.raises(CheckpointError, match="trained on another encoder"):
        run(tmp_path / "other", audio / "short.wav", head=head)
    with pytest.raises(CheckpointError, match="does not fit"):
        run(tmp_path / "narrow", audio / "short.wav", head=head)
    with pytest.raises(CheckpointError, match="no head for the task 'asr'"):
        run(folder, audio / "short.wav", task="asr")
    for content in (b"", b"{}", b"\x10" + bytes(30)):
        head.write_bytes(content)
        with pytest.raises(CheckpointError, match="this is no head"):
            run(folder, audio / "short.wav")
    put_head(folder, encoder, "sid")
    record = {"task": {"task": "sid", **TASKS["sid"]}, "purpose": "finetune", "size": "mini"}
    weights, record = load_file(head), {**record, "width": 16}
    del weights["output.bias"]
    write_head(head, weights, HeadRecord(**record))
    with pytest.raises(CheckpointError, match="not those of a head for 'sid'"):
        run(folder, audio / "short.wav")


def test_a_run_keeps_its_head_beside_the_encoder_also_as_earlier_ones_did(home, audio, tmp_path):
    base, _ = home
    out = finetune(tuning(base, tmp_path / "run", steps=2, evaluate_every=0))
    for name in ("", "encoder", "encoder-best"):
        assert [p.name for p in find_heads(out / name)] == ["head.safetensors"]
        head = read_head(find_heads(out / name)[0])
        assert head.record.encoder == load_encoder(out / "encoder").fingerprint()
    AutoModel.from_pretrained(out / "encoder")
    (wanted,) = run(out, audio / "short.wav")
    assert run(out / "encoder", audio / "short.wav") == [wanted]
    # Earlier versions wrote bare weights into the run's folder, and what they mean into task.json.
    save_file(load_file(out / "head.safetensors"), out / "head.safetensors")
    (out / "encoder" / "head.safetensors").unlink()
    record = read_json(out / "speechft.json")
    write_json(out / "speechft.json", {k: v for k, v in record.items() if k != "products"})
    for place in (out, out / "encoder"):
        assert run(place, audio / "short.wav") == [wanted]
    write_json(out / "task.json", {"task": "sid", "groups": {"speaker": ["a", "b"]}})
    with pytest.raises(CheckpointError, match=r"no task\.json that fits"):
        run(out, audio / "short.wav")


@pytest.mark.parametrize("normalize", [False, True])
def test_a_kept_probe_predicts_what_its_evaluation_did(evaluation_home, tmp_path, normalize):
    values = {"tasks": "sid,pr,asr", "head_size": "mini", "device": "cpu", "normalize": normalize}
    out = evaluate(evaluation(evaluation_home, tmp_path / "out", **values))
    table = evaluation_home / "data" / "table.jsonl"
    for task, key in (("sid", "label"), ("pr", "phonemes"), ("asr", "text")):
        (kept,) = (p for p in (out / "cells").iterdir() if p.name.startswith(f"{task}-"))
        rows = {row["id"]: row for row in read_jsonl(kept / "predictions.jsonl")}
        given = {"head": out, "task": task, "split": "test"}
        found = {r["id"]: r for r in run(evaluation_home / "one", table, **given)}
        assert found.keys() == rows.keys()
        for name, row in rows.items():
            assert found[name][key] == row["prediction"]
            assert [found[name][k] for k in ("file", "start", "end")] == [
                row[k] for k in ("file", "start", "end")
            ]
        with pytest.raises(CheckpointError, match="trained on another encoder"):
            run(evaluation_home / "two", table, **given)
    with pytest.raises(SettingsError, match="several heads"):
        run(evaluation_home / "one", table, head=out)

"""Every SUPERB task from its corpus' own tree to a score."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from evaluate_fixture import CONFIG
from family_configs import config_of

from speechft.core.errors import SettingsError
from speechft.core.files import read_json, read_jsonl
from speechft.core.settings import parse_settings
from speechft.encoders import build_encoder
from speechft.hidden.states import FrameStates, PooledStates, SplitStates
from speechft.probing import qbe_search
from speechft.probing.evaluate import evaluate
from speechft.probing.qbe_search import run_search
from speechft.probing.settings import EvaluateSettings
from speechft.tasks import asv
from speechft.tasks.qbe import QueryByExample

CORPORA = {
    "pr": "librispeech",
    "asr": "librispeech",
    "ks": "speech_commands",
    "qbe": "quesst2014",
    "sid": "voxceleb1",
    "asv": "voxceleb1",
    "sd": "libri2mix",
    "ic": "fluent_speech_commands",
    "sf": "snips",
    "er": "iemocap",
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    build_encoder(dict(CONFIG), seed=0).save(folder)
    return folder


@pytest.fixture
def run(encoder, corpus_tree, tmp_path, monkeypatch):
    """Evaluates one task on its corpus' tree; gives records, grid, predictions."""
    monkeypatch.setattr(asv, "SHORTEST", 8000)
    trees = {}

    def one(task, **values):
        name = CORPORA[task]
        if name not in trees:
            more = {"speakers": 6} if name == "voxceleb1" else {}
            trees[name] = corpus_tree(name, **more)
        out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        base = {
            "encoders": (str(encoder),),
            "data": f"{name}:{trees[name]}",
            "out": out,
            "tasks": (task,),
            "steps": 4,
            "batch_size": 3,
            "checks": 2,
            "learning_rates": (0.01, 0.001),
            "workers": 1,
        }
        values = {key: value for key, value in {**base, **values}.items() if value != "default"}
        evaluate(parse_settings(EvaluateSettings, values, where="test"))
        records = read_jsonl(out / "results.jsonl")
        rows = read_jsonl(out / "cells" / records[0]["cell"] / "predictions.jsonl")
        cell = read_json(out / "cells" / records[0]["cell"] / "cell.json")
        return SimpleNamespace(
            records=records, grid=read_jsonl(out / "grid.jsonl"), rows=rows, cell=cell
        )

    return one


@pytest.mark.parametrize("protocol", ["clean", "s3prl"])
@pytest.mark.parametrize("task", sorted(CORPORA))
def test_every_task_from_its_corpus_to_a_score(run, task, protocol):
    found = run(task, protocol=protocol)
    record = found.records[0]
    assert (record["task"], record["protocol"], record["split"]) == (task, protocol, "test")
    assert record["items"] > 0
    assert len(found.rows) > 0
    chosen = [row for row in found.grid if row["chosen"]]
    assert len(chosen) == (5 if task == "er" else 1)
    if task == "asv":
        assert record["selection"] == ("dev eer" if protocol == "clean" else "test eer")
    if task == "sd":
        assert record["selection"] == ("dev der" if protocol == "clean" else "dev frame_acc")
        point = record["operating_point"]
        assert (point["median"] in (1, 11)) if protocol == "clean" else "ten" in point
    if task == "qbe":
        assert record["state"] in (0, 1)
        assert len(found.grid) == 2
        assert found.cell["layer_weights"][record["state"]] == 1.0
        assert record["documents"] == 3  # the one in Basque is not searched
    if task == "er":
        values = [fold["acc"] for fold in record["folds"]]
        assert len(values) == 5
        assert record["value"] == pytest.approx(sum(values) / 5, abs=1e-5)
        assert {row["fold"] for row in found.rows} == {1, 2, 3, 4, 5}


def states(spoken):
    """What is kept of a split, from the frames (T, D) of its utterances in each hidden state."""
    lengths = [len(one) for one in spoken[0]]
    frames = torch.stack([torch.cat(own) for own in spoken])
    means = torch.stack([torch.stack([one.mean(0) for one in own]) for own in spoken])
    return SplitStates(PooledStates(means, lengths), FrameStates(frames.split(lengths, dim=1)))


def test_the_dev_queries_alone_choose_the_state_that_is_searched(monkeypatch):
    monkeypatch.setattr(qbe_search, "chosen_on", lambda cuts: "dev")  # these cuts have no audio
    random = torch.Generator().manual_seed(0)
    documents = [[torch.randn(20, 8, generator=random) for _ in "abc"] for _ in range(2)]

    def asked(*found):
        """Two queries: in each hidden state, parts of the documents named for it."""
        pairs = zip(documents, found, strict=True)
        return states([[own["abc".index(name)][4:14] for name in names] for own, names in pairs])

    def cut(name, *matches):
        heard = SimpleNamespace(custom={"matches": matches})
        return SimpleNamespace(id=name, supervisions=[heard])

    cuts = [
        [cut(name) for name in "abc"],
        [cut("1", "a"), cut("2", "b")],
        [cut("3", "b"), cut("4", "a")],
    ]
    # State 1 finds the dev queries and misses the others; what state 0 finds is right for those.
    views = [states(documents), asked("ba", "ab"), asked("ba", "cc")]
    found = run_search(QueryByExample.from_cuts(cuts[0]), cuts, views, device="cpu")
    assert [(row["mtwv"], row["chosen"]) for row in found.grid] == [(0.0, False), (100.0, True)]
    assert (found.about["state"], found.dev, found.scores) == (1, {"mtwv": 100.0}, {"mtwv": 0.0})
    views[2] = asked("ab", "ba")
    found = run_search(QueryByExample.from_cuts(cuts[0]), cuts, views, device="cpu")
    assert (found.about["state"], found.scores) == (1, {"mtwv": 100.0})


def shorten_turns(data, split):
    """Let every turn of a split begin at once and end early."""
    for name, start in (("segments", 2), ("rttm", 3)):
        lines = [line.split() for line in (data / split / name).read_text().splitlines()]
        for line in lines:
            line[start : start + 2] = "0.0", "0.4"
        (data / split / name).write_text("".join("\t".join(line) + "\n" for line in lines))


def test_the_dev_recordings_alone_choose_the_operating_point(run, tmp_path):
    first = run("sd")
    data = tmp_path / "libri2mix" / "data"
    shorten_turns(data, "test")
    other_test = run("sd")
    shorten_turns(data, "dev")
    other_dev = run("sd")
    assert other_test.grid == first.grid != other_dev.grid
    point, same, other = (f.records[0]["operating_point"] for f in (first, other_test, other_dev))
    assert point == same != other
    assert other_test.records[0]["value"] != first.records[0]["value"]


def test_asv_trains_on_other_speakers_than_dev_has(run):
    from speechft.probing import cells

    seen = []
    original = cells.run_probe
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "run_probe", lambda *a, **k: seen.append(a[1]) or original(*a, **k))
        run("asv", steps=1, checks=1)
    ((train, dev, test),) = seen
    speakers = [{c.supervisions[0].speaker for c in split} for split in (train, dev, test)]
    assert len(speakers[0]) == 4
    assert len(speakers[1]) == 2
    assert not speakers[0] & speakers[1]
    assert speakers[2] == {"id10270", "id10271"}


def test_asr_is_decoded_with_a_language_model_too(run, tmp_path):
    pytest.importorskip("flashlight.lib.text.decoder")
    lexicon, model = tmp_path / "lexicon.txt", tmp_path / "lm.arpa"
    lexicon.write_text("GO\nSTOP\n")
    words = "\n".join(f"-1.0\t{word}" for word in ("<s>", "</s>", "<unk>", "GO", "STOP"))
    pairs = "-0.5\tGO STOP"
    model.write_text(
        f"\\data\\\nngram 1=5\nngram 2=1\n\n\\1-grams:\n{words}\n\n\\2-grams:\n{pairs}\n\n\\end\\\n"
    )
    found = run("asr", asr_lm=model, asr_lexicon=lexicon)
    assert [r["metric"] for r in found.records] == ["wer", "cer", "wer_lm", "cer_lm"]
    assert all(set(row["with_lm"].split()) <= {"GO", "STOP"} for row in found.rows)
    lexicon.write_text("GO\n")
    again = run("asr", asr_lm=model, asr_lexicon=lexicon)
    assert again.records[0]["cell"] != found.records[0]["cell"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"asr_lm": "a"}, "belong together"),
        ({"asr_lm": "a", "asr_lexicon": "b"}, "no such file"),
        ({"tasks": ("pr",), "asr_lm": "a", "asr_lexicon": "b"}, "not in tasks"),
    ],
)
def test_mistakes_about_the_language_model_are_named(run, values, words):
    with pytest.raises(SettingsError, match=words):
        run("asr", **values)


@pytest.mark.parametrize("task", ["qbe", "pr", "er"])
def test_the_published_protocol_finds_the_same_wherever_states_are_kept(run, tmp_path, task):
    values = {"protocol": "s3prl", "learning_rates": (0.01,), "steps": 2, "checks": 1}
    kept = [
        run(task, **values, **more)
        for more in ({}, {"store": tmp_path / "store"}, {"keep": "none", "store_gb": 3e-5})
    ]
    expected = [(r["metric"], r["value"]) for r in kept[0].records]
    for found in kept[1:]:
        assert [(r["metric"], r["value"]) for r in found.records] == expected
        assert found.rows == kept[0].rows


def test_the_published_protocol_needs_an_encoder_with_padding_frames(run, tmp_path):
    build_encoder(config_of("whisper"), seed=0).save(tmp_path / "whisper")
    with pytest.raises(SettingsError, match="has no padding frame of a batch"):
        run("er", encoders=(str(tmp_path / "whisper"),), protocol="s3prl")

"""Five made-up leaks, five marks: what an encoder was tuned on is known wherever it is tested."""

from __future__ import annotations

import gzip
import json
import shutil

import numpy as np
import pytest
import soundfile
from evaluate_fixture import evaluation
from finetune_fixture import settings as tuning

from speechft.cli.app import main
from speechft.core.errors import CheckpointError, DataError, SettingsError
from speechft.core.files import read_jsonl
from speechft.core.heard import FILE, Heard, read_heard, write_heard
from speechft.encoders.convert import convert
from speechft.encoders.identity import heard_of, is_known
from speechft.encoders.settings import ConvertSettings
from speechft.merging.settings import MergeSettings
from speechft.pipeline.merge import merge
from speechft.pipeline.recipe.check_inputs import foreseen_leaks
from speechft.pipeline.recipe.settings import load_recipe
from speechft.pipeline.recipe.stage import plan_run
from speechft.probing.evaluate import evaluate
from speechft.reporting.study.page import page
from speechft.reporting.study.settings import StudySettings
from speechft.reporting.study.table import make_table
from speechft.training.finetune.stage import finetune


def _noise(path, seed, seconds=0.4):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(
        path, 0.3 * np.random.default_rng(seed).normal(size=int(16000 * seconds)), 16000
    )


def _table(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def _rows(folder, counts, speakers, seed=0, **more):
    """Utterances with audio of their own: split → count, split → speakers."""
    rows = []
    for split, count in counts.items():
        for i in range(count):
            audio = folder / f"{split}-{i}.wav"
            _noise(audio, [seed, *split.encode(), i])
            names = speakers[split]
            label = ("calm", "angry")[i % 2]
            row = {"audio": str(audio), "speaker": names[i % len(names)], "emotion": label}
            rows.append({**row, "split": split, **more})
    return rows


COUNTS = {"train": 8, "dev": 4, "test": 4}
OWN = {"train": ("a", "b"), "dev": ("c", "d"), "test": ("e", "f")}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    from evaluate_fixture import CONFIG

    from speechft.encoders import build_encoder

    folder = tmp_path_factory.mktemp("leaks")
    build_encoder(dict(CONFIG), seed=0).save(folder / "one")
    write_heard(folder / "one", Heard())
    _table(folder / "data" / "table.jsonl", _rows(folder / "data", COUNTS, OWN))
    return folder


def _tuned(home, out, data, task="er", encoder="one"):
    more = {"data": data, "steps": 2, "seconds": 4, "task": task}
    return finetune(tuning(home / encoder, out, **more)) / "encoder"


def _records(home, out, *encoders, **more):
    named = tuple((f"e{i}", path) for i, path in enumerate(encoders))
    folder = evaluate(evaluation(home, out, encoders=named, **{"tasks": "er", **more}))
    return read_jsonl(folder / "results.jsonl")


def _iemocap(root):
    for session in range(1, 6):
        base = root / f"Session{session}"
        lines = []
        for i in range(10):
            name = f"Ses{session:02d}F_impro01_{'FM'[i % 2]}{i:03d}"
            _noise(base / "sentences" / "wav" / name[:-5] / f"{name}.wav", [session, i])
            lines.append(f"[6.2901 - 8.2357]\t{name}\t{('neu', 'ang')[i // 2 % 2]}\t[2, 2, 2]\n")
        labels = base / "dialog" / "EmoEvaluation" / f"{name[:-5]}.txt"
        labels.parent.mkdir(parents=True)
        labels.write_text("".join(lines))
    return root


def test_1_one_fold_tuned_five_folds_tested(home, tmp_path):
    """The paper's ER row: 32 of 50 are heard, as 3556 of 5531 are. Clean folds can be had."""
    root = _iemocap(tmp_path / "IEMOCAP")
    tuned = _tuned(home, tmp_path / "run", f"iemocap:{root}@fold1")
    data = f"iemocap:{root}"
    (first, second) = _records(home, tmp_path / "marked", home / "one", tuned, data=data)
    assert (first["heard_items"], first["heard_speakers"]) == (0.0, 0.0)
    assert (second["heard_items"], second["heard_speakers"]) == (0.64, 0.8)
    with pytest.raises(SettingsError, match=r"e1 on er: 64 % of the test items and 80 %"):
        _records(home, tmp_path / "refused", home / "one", tuned, data=data, on_leak="refuse")
    both = _records(home, tmp_path / "dropped", home / "one", tuned, data=data, on_leak="drop")
    assert len({row["data_hash"] for row in both}) == 1
    for row in both:
        assert (row["items"], row["heard_items"], row["heard_speakers"]) == (10, 0.0, 0.0)
        assert row["dropped_items"] == 40
    other = _records(home, tmp_path / "fold", tuned, data=f"iemocap:{root}@fold1")
    assert (other[0]["heard_items"], other[0]["items"]) == (0.0, 10)


def test_2_speakers_of_verification_were_identified(home, tmp_path):
    """VoxCeleb1: identification trains on the speakers of the trials, by other utterances."""
    names = {"train": ("a", "b", "v", "w"), "dev": ("a", "b", "v", "w"), "test": ("a", "b")}
    rows = _rows(tmp_path / "sid", COUNTS, names, seed=1)
    tuned = _tuned(home, tmp_path / "run", _table(tmp_path / "sid" / "t.jsonl", rows), "sid")
    asv = {"train": ("a", "b"), "dev": ("c", "d"), "test": ("v", "w")}
    data = _table(tmp_path / "asv" / "t.jsonl", _rows(tmp_path / "asv", COUNTS, asv, seed=2))
    for row in _records(home, tmp_path / "out", tuned, data=data, tasks="asv"):  # EER, minDCF
        assert (row["heard_items"], row["heard_speakers"]) == (0.0, 1.0)
    with pytest.raises(DataError, match="nothing is left of the test split of 'asv'"):
        _records(home, tmp_path / "none", tuned, data=data, tasks="asv", on_leak="drop")


def test_3_the_test_split_as_training_data_under_other_names(home, tmp_path):
    """Paths and labels are others; the audio is the same."""
    rows = []
    for i in range(4):
        copy = tmp_path / "elsewhere" / f"x{i}.wav"
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(home / "data" / f"test-{i}.wav", copy)
        rows.append({"audio": str(copy), "label": "pq"[i % 2], "speaker": "z", "split": "train"})
    data = _table(tmp_path / "mine.jsonl", rows)
    tuned = _tuned(home, tmp_path / "run", data, "classify:label")
    (row,) = _records(home, tmp_path / "out", tuned)
    assert (row["heard_items"], row["heard_speakers"]) == (1.0, 0.0)


def test_4_parts_of_one_recording(home, tmp_path):
    """Tuned on 0 to 1 s, tested on what begins within that, and on what begins behind it."""
    audio = tmp_path / "long.wav"
    _noise(audio, 9, seconds=4)
    part = {"audio": str(audio), "emotion": "calm", "speaker": "a"}
    begins = [("train", 0.0), ("train", 0.6), ("dev", 2.5), ("test", 0.9), ("test", 1.0)]
    rows = [
        {**part, "id": f"{i}", "split": split, "start": b, "end": b + 0.4, "emotion": "pq"[i % 2]}
        for i, (split, b) in enumerate(begins)
    ]
    tuned = _tuned(home, tmp_path / "run", _table(tmp_path / "tuned.jsonl", rows))
    (row,) = _records(home, tmp_path / "out", tuned, data=str(tmp_path / "tuned.jsonl"))
    assert (row["heard_items"], "heard_speakers" in row) == (0.5, False)


def test_5_a_merge_inherits_from_all_its_parents(home, tmp_path):
    """Also one that is only made in memory, and one that is merged again or tuned on."""
    rows = [json.loads(line) for line in (home / "data" / "table.jsonl").read_text().splitlines()]
    half = [{**r, "split": "train"} for r in rows if r["split"] == "test"][:2]
    leaky = _tuned(home, tmp_path / "leaky", _table(tmp_path / "half.jsonl", half))
    clean = _tuned(home, tmp_path / "clean", str(home / "data" / "table.jsonl"))
    tuned = (str(leaky), str(clean))
    one = merge(MergeSettings(base=str(home / "one"), tuned=tuned, out=tmp_path / "merged"))
    again = merge(MergeSettings(base=str(home / "one"), tuned=(str(one),), out=tmp_path / "again"))
    further = _tuned(
        tmp_path, tmp_path / "further", str(home / "data" / "table.jsonl"), "er", "again"
    )
    between = {"name": "m", "base": str(clean), "tuned": str(leaky), "alpha": 0.5}
    own = [{"name": p.parent.name + p.name, "path": str(p)} for p in (clean, one, again, further)]
    out = tmp_path / "out"
    evaluate(evaluation(home, out, encoders=[*own, between], tasks="er"))
    assert [row["heard_items"] for row in read_jsonl(out / "results.jsonl")] == [0, *[0.5] * 4]


def test_dev_that_chose_the_encoder_is_marked_too(home, tmp_path):
    """The best on dev was chosen among those of its run; the last was not, nor θ0."""
    rows = [json.loads(line) for line in (home / "data" / "table.jsonl").read_text().splitlines()]
    swap = {"train": "train", "dev": "test", "test": "dev"}
    data = _table(tmp_path / "t.jsonl", [{**r, "split": swap[r["split"]]} for r in rows])
    last = _tuned(home, tmp_path / "run", data)
    best = last.with_name("encoder-best")
    own = {"base": str(home / "one"), "tuned": (str(best),), "out": tmp_path / "merged"}
    merged = merge(MergeSettings(**own))
    first, second, third = _records(home, tmp_path / "out", last, best, merged)
    assert (first["heard_items"], "dev_items" in first) == (0.0, False)
    for row in (second, third):
        assert (row["heard_items"], row["dev_items"], row["dev_speakers"]) == (0.0, 1.0, 1.0)
    with pytest.raises(SettingsError, match=r"e0 on er: 100 % of the test items as the dev split"):
        _records(home, tmp_path / "refused", best, on_leak="refuse")
    with pytest.raises(DataError, match="nothing is left of the test split"):
        _records(home, tmp_path / "none", home / "one", best, on_leak="drop")
    assert read_heard(best).dev_stretches
    assert heard_of(_converted(best, tmp_path / "best.pt", "s3prl")) == heard_of(best)


def test_what_is_not_known_is_unknown(home, tmp_path):
    """Never 0; and an encoder tuned from such a one has heard at least what is known."""
    shutil.copytree(home / "one", tmp_path / "foreign")
    (tmp_path / "foreign" / FILE).unlink()
    table = str(home / "data" / "table.jsonl")
    tuned = _tuned(tmp_path, tmp_path / "run", table, encoder="foreign")
    train = [json.loads(line) for line in (home / "data" / "table.jsonl").read_text().splitlines()]
    swapped = {"train": "test", "test": "train", "dev": "dev"}
    data = _table(tmp_path / "t.jsonl", [{**r, "split": swapped[r["split"]]} for r in train])
    (row,) = _records(home, tmp_path / "a", tmp_path / "foreign")
    assert (row["heard_items"], row["heard_speakers"]) == ("unknown", "unknown")
    (row,) = _records(home, tmp_path / "b", tuned)
    assert (row["heard_items"], row["heard_speakers"]) == ("unknown", "unknown")
    (row,) = _records(home, tmp_path / "c", tuned, data=data)
    assert (row["heard_items"], row["heard_speakers"]) == (1.0, 1.0)
    assert heard_of("tiny-hubert") == heard_of("facebook/hubert-base-ls960") == Heard()
    assert not is_known("facebook/hubert-base-ls960@refs/pr/3")  # anybody can propose weights
    assert not heard_of("nowhere").known


def _converted(source, target, to):
    return convert(ConvertSettings(source=str(source), target=target, to=to))


@pytest.mark.parametrize("to", ["fairseq", "s3prl"])
def test_a_file_has_its_own_history_in_whatever_folder_it_lies(home, tmp_path, to):
    """A tuned encoder's file in a clean encoder's folder has heard what it has."""
    rows = [json.loads(line) for line in (home / "data" / "table.jsonl").read_text().splitlines()]
    half = [{**r, "split": "train"} for r in rows if r["split"] == "test"][:2]
    leaky = _tuned(home, tmp_path / "leaky", _table(tmp_path / "half.jsonl", half))
    clean = _converted("tiny-hubert", tmp_path / "clean", "hf")
    file = _converted(leaky, clean / "tuned.pt", to)
    names = [clean, file, clean / "config.json", clean / "model.safetensors"]
    shares = [row["heard_items"] for row in _records(home, tmp_path / "out", *names)]
    assert shares == [0, 0.5, 0, 0]
    assert heard_of(_converted(file, tmp_path / "back", "hf")) == heard_of(leaky)
    file.with_name(f"tuned.pt.{FILE}").unlink()
    assert heard_of(file) == Heard(known=False)
    _converted(clean, clean / "own.pt", to)
    shutil.copy(clean / "own.pt", file)
    shutil.copy(clean / f"own.pt.{FILE}", clean / f"tuned.pt.{FILE}")
    assert heard_of(file) == Heard()
    _converted(leaky, tmp_path / "other.pt", to).replace(file)
    assert heard_of(file) == Heard(known=False)


def test_a_merge_speaks_of_the_file_in_its_first_format(home, tmp_path):
    base = _converted(home / "one", tmp_path / "base.pt", "s3prl")
    options = {"base": str(base), "tuned": (str(home / "one"),), "out": tmp_path / "merged"}
    merged = merge(MergeSettings(**options))
    assert heard_of(merged) == heard_of(merged / "base.pt") == Heard()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "other.pt"])
def test_other_weights_in_the_place_of_those_that_a_list_speaks_of(home, tmp_path, name):
    folder = tmp_path / "folder"
    shutil.copytree(home / "one", folder)
    shutil.copy(folder / "model.safetensors", folder / "adapter.eng.safetensors")
    assert heard_of(folder) == heard_of(folder / "adapter.eng.safetensors") == Heard()
    other = _converted("tiny-hubert", tmp_path / "x", "hf") / "model.safetensors"
    (folder / "model.safetensors").unlink()
    shutil.copy(other, folder / name)
    assert heard_of(folder) == heard_of(folder / name) == Heard(known=False)


def test_shards_that_another_index_names(home, tmp_path):
    options = {"base": str(home / "one"), "tuned": (str(home / "one"),), "out": tmp_path / "merged"}
    merged = merge(MergeSettings(**options, max_shard_size="10KB"))
    index = merged / "model.safetensors.index.json"
    assert heard_of(merged) == Heard()
    index.write_text(index.read_text() + "\n")
    assert heard_of(merged) == Heard(known=False)


def test_a_list_of_an_earlier_version_names_no_weights(home, tmp_path):
    """What it says was heard counts further, but is perhaps not all; a file is not spoken of."""
    folder = tmp_path / "folder"
    shutil.copytree(home / "one", folder)
    key = "0" * 16
    with gzip.open(folder / FILE, "wt") as file:
        file.write(f"speechft heard 1 known\na {key} 0 900\n")
    assert heard_of(folder) == Heard(frozenset([(key, 0, 900)]), known=False)
    shutil.copy(folder / "model.safetensors", folder / "other.safetensors")
    assert heard_of(folder / "other.safetensors") == Heard(known=False)


def test_report_and_dry_run_say_it(home, tmp_path, capsys):
    """The run foresees what its results will say; the report marks the cell."""
    root = _iemocap(tmp_path / "IEMOCAP")
    recipe = {
        "name": "er",
        "encoder": str(home / "one"),
        "data": f"iemocap:{root}",
        "finetune": {"task": "er", "data": f"iemocap:{root}@fold1", "steps": 2, "seconds": 4},
        "evaluate": {"tasks": ["er"], "steps": 2, "workers": 1, "learning_rates": [0.01]},
    }
    recipe["finetune"] |= {"head_size": "mini", "threads": 1}
    file, out = tmp_path / "er.yaml", str(tmp_path / "run")
    file.write_text(json.dumps(recipe))
    said = (
        "finetuned-er on er: 64 % of the test items and 80 % of the test speakers and 16 % of the "
    )
    said += "test items as the dev split that chose the encoder"

    def run(*options):
        with pytest.raises(SystemExit) as end:
            main(["run", str(file), "--out", out, *options])
        return end.value.code, *(" ".join(text.split()) for text in capsys.readouterr())

    code, shown, _ = run("--dry-run")
    assert code == 0
    assert f"will be heard with labels in tuning: {said}" in shown
    assert "pretrained on er" not in shown
    code, _, error = run("--set", "evaluate.on_leak=refuse")
    assert code == 2
    assert said in error
    assert not (tmp_path / "run" / "seed-0").exists()
    assert run()[0] == 0
    page = (tmp_path / "run" / "report.md").read_text()
    pretrained, tuned, merged = (line for line in page.splitlines() if line.startswith("| θ"))
    assert "‡" not in pretrained
    assert (tuned.count("‡"), merged.count("‡")) == (2, 2)  # the task and the score
    assert "‡ marks figures on test utterances, or test speakers" in page
    assert "heard with labels in tuning" in (tmp_path / "run" / "report.html").read_text()


def test_a_study_cannot_drop_for_each_encoder_alone():
    spec = {"name": "s", "title": "S", "encoders": {"theta0": "x"}}
    spec["rows"] = [{"name": "theta0", "title": "A", "encoder": "theta0"}]
    with pytest.raises(ValueError, match="evaluates every encoder by itself"):
        StudySettings(**spec, evaluate={"on_leak": "drop"})


def test_a_study_marks_the_cell():
    row = {"seed": 0, "metric": "acc", "direction": "higher", "value": 50.0}
    spec = {"name": "s", "title": "S", "encoders": {"theta0": "x"}}
    spec["rows"] = [{"name": "theta0", "title": "A", "encoder": "theta0"}]
    settings = StudySettings(**spec, evaluate={"tasks": ["er", "sid"]})
    table = make_table(
        settings,
        [
            {"row": "theta0", "task": "er", "heard_items": 0.64, "heard_speakers": 0.8, **row},
            {"row": "theta0", "task": "sid", "heard_items": 0.0, **row},
        ],
    )
    text = page(settings, table, [], {}, [])
    assert "| A, seeds: 1 | 500 ‡ | 50.0 ‡ | 50.0 |" in text
    assert "(up to 80 %)" in text


def test_the_list_is_the_same_bytes_and_its_damage_is_said(tmp_path):
    many = Heard(
        frozenset((f"{i:016x}", i, i + 900) for i in range(3000)),
        frozenset([("", "0" * 16), ("1" * 16, "2" * 16)]),
    )
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"weights")
        write_heard(tmp_path / name, many)
    assert (tmp_path / "a" / FILE).read_bytes() == (tmp_path / "b" / FILE).read_bytes()
    assert read_heard(tmp_path / "a") == many
    whole = (tmp_path / "a" / FILE).read_bytes()
    (tmp_path / "a" / FILE).write_bytes(whole[:-20])
    with pytest.raises(CheckpointError, match="what the encoder has heard cannot be read"):
        read_heard(tmp_path / "a")


def _swapped(home, path, **named):
    """Write the table with other names for its splits."""
    rows = [json.loads(line) for line in (home / "data" / "table.jsonl").read_text().splitlines()]
    return _table(path, [{**r, "split": named.get(r["split"], r["split"])} for r in rows])


@pytest.mark.parametrize("by", ["similarity", "probe"])
def test_labels_that_chose_alpha_are_marked_as_dev(home, tmp_path, by):
    """Also where another merge takes the choice; similarity reads no labels."""
    data = _swapped(home, tmp_path / "t.jsonl", dev="test", test="dev")
    tuned = _tuned(home, tmp_path / "run", str(home / "data" / "table.jsonl"))
    ends = {"base": str(home / "one"), "tuned": (str(tuned),), "alpha": "auto"}
    probe = {"tasks": ("er",), "choose": {"probe": {"steps": 2}}}
    about = {"by": by, "data": data} | (probe if by == "probe" else {"bound": 0.1})
    first = merge(MergeSettings(**ends, **about, out=tmp_path / "first"))
    choice = first / "alpha.json"
    again = merge(MergeSettings(**ends, chosen=choice, out=tmp_path / "again"))
    expected = {"heard_items": 0.0, "dev_items": 1.0 if by == "probe" else None}
    rows = _records(home, tmp_path / "out", tuned, first, again)
    assert "dev_items" not in rows[0]
    for row in rows[1:]:
        assert {name: row.get(name) for name in expected} == expected
    if by == "probe":  # who chose it by what is not known any more
        shutil.copy(choice, tmp_path / "alpha.json")
        lost = MergeSettings(**ends, chosen=tmp_path / "alpha.json", out=tmp_path / "lost")
        assert not heard_of(merge(lost)).known


def test_a_dry_run_foresees_labels_that_choose_alpha(home, tmp_path):
    data = _swapped(home, tmp_path / "t.jsonl", dev="test", test="dev")
    recipe = {
        "name": "er", "encoder": str(home / "one"), "data": str(home / "data" / "table.jsonl"),
        "finetune": {"task": "er", "steps": 2, "seconds": 4},
        "merge": {"alpha": "auto", "by": "probe", "tasks": ["er"], "data": data},
        "evaluate": {"tasks": ["er"], "steps": 2},
    }  # fmt: skip
    (tmp_path / "er.yaml").write_text(json.dumps(recipe))
    plan = plan_run(load_recipe(tmp_path / "er.yaml", []), tmp_path / "run")
    (line,) = foreseen_leaks(plan)
    assert line.startswith("merged-er on er: 100 % of the test items")
    assert "as the dev split that chose the encoder" in line


def test_a_probe_that_is_trained_on_test_utterances_is_marked(home, tmp_path):
    """Of an own table, whose rows of test are those of train too: for every encoder alike."""
    rows = [json.loads(line) for line in (home / "data" / "table.jsonl").read_text().splitlines()]
    twice = [{**r, "split": "train", "id": f"x{i}"} for i, r in enumerate(rows)]
    twice = [own for own, r in zip(twice, rows, strict=True) if r["split"] == "test"][:2]
    data = _table(tmp_path / "t.jsonl", [*rows, *twice])
    (row,) = _records(home, tmp_path / "out", home / "one", data=data)
    assert (row["heard_items"], row["probe_items"]) == (0.0, 0.5)
    (row,) = _records(home, tmp_path / "clean", home / "one")
    assert "probe_items" not in row
    with pytest.raises(SettingsError, match=r"e0 on er: 50 % of the test items as training data"):
        _records(home, tmp_path / "refused", home / "one", data=data, on_leak="refuse")
    (row,) = _records(home, tmp_path / "dropped", home / "one", data=data, on_leak="drop")
    assert (row["items"], row["dropped_items"], "probe_items" in row) == (2, 2, False)

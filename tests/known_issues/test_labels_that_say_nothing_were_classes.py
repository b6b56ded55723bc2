"""An empty label was a class of its own, no tag a slot `None`; slots of two words were cut short.

In a data set of Hugging Face a list of classes kept their numbers, so that words outside of all
slots were slots.
"""

from __future__ import annotations

import json

import pytest
import torch
from lhotse import MonoCut, Recording, SupervisionSegment

from speechft.core.errors import DataError
from speechft.data.load import find_data, load_data
from speechft.data.manifests import read_cuts, write_cuts
from speechft.tasks import TASKS


def utterance(number: int = 0, speaker: str | None = "anna", **custom) -> MonoCut:
    name = f"u{number}"
    own = SupervisionSegment(name, name, 0.0, 1.0, speaker=speaker, custom=custom)
    return MonoCut(name, 0.0, 1.0, 0, [own])


@pytest.mark.parametrize("empty", ["", " "])
@pytest.mark.parametrize(("task", "field"), [("er", "emotion"), ("ks", "label"), ("ic", "intent")])
def test_an_empty_label_is_none(task, field, empty):
    cuts = [utterance(n, **{field: text}) for n, text in enumerate(("a", "b", empty))]
    assert TASKS[task].from_cuts(cuts[:2]).output_size == 2
    with pytest.raises(DataError, match=f"the task '{task}' needs"):
        TASKS[task].from_cuts(cuts)


@pytest.mark.parametrize("empty", ["", " ", None])
def test_an_empty_part_of_an_intent_is_none(empty):
    cuts = [utterance(n, intent={"do": "a", "at": text}) for n, text in enumerate("ab")]
    assert TASKS["ic"].from_cuts(cuts).groups == {"at": ["a", "b"], "do": ["a"]}
    with pytest.raises(DataError, match="the task 'ic' needs an intent with a name in every part"):
        TASKS["ic"].from_cuts([*cuts, utterance(2, intent={"do": "a", "at": empty})])


@pytest.mark.parametrize("empty", ["", " ", "\u00a0"])
@pytest.mark.parametrize("task", ["sid", "asv", "sd"])
def test_an_empty_name_is_no_speaker(tmp_path, task, empty):
    cuts = [utterance(0), utterance(1, "ben"), utterance(2, empty)]
    if task == "sd":
        cuts[0].supervisions += [cut.supervisions[0] for cut in cuts[1:]]
    write_cuts(tmp_path / "c.jsonl.gz", cuts)
    with pytest.raises(DataError, match=r"needs a speaker|found: +segments without speaker"):
        TASKS[task].from_cuts(read_cuts(tmp_path / "c.jsonl.gz"))


@pytest.mark.parametrize("tag", [None, "", 3])
def test_no_tag_is_no_slot(tag):
    with pytest.raises(DataError, match="cannot read the words and slot tags"):
        TASKS["sf"].from_cuts([utterance(word_tags=[["to", "O"], ["rome", tag]])])


def test_a_slot_of_two_words_keeps_its_name_and_value(tmp_path, tone):
    tone("a.wav")
    row = {"audio": "a.wav", "text": "at nine", "tags": ["O", "start time"]}
    table = tmp_path / "t.jsonl"
    table.write_text(json.dumps(row) + "\n")
    cut = utterance(word_tags=[["at", "O"], ["nine", "start time"]])
    cut.recording = Recording.from_file(tmp_path / "a.wav")
    (tmp_path / "c.jsonl").write_text(json.dumps(cut.to_dict()) + "\n")
    for place in (table, tmp_path / "c.jsonl"):
        (found,) = load_data(str(place)).values()
        task = TASKS["sf"].from_cuts(found)
        (reference,) = map(task.reference, found)
        assert task._slots(reference, "")[0] == [("start_time", "NINE")]
        assert (
            "spaces in names of slots become _, as in 'start_time'" in find_data(str(place)).notes
        )


@pytest.mark.parametrize(
    "kind",
    [
        {"_type": "List", "feature": {"_type": "ClassLabel", "names": ["O", "city"]}},
        [{"_type": "ClassLabel", "names": ["O", "city"]}],
    ],
)
def test_a_list_of_classes_becomes_their_names(tmp_path, tone, kind):
    pyarrow = pytest.importorskip("pyarrow")
    audio = {"bytes": tone("a.wav").read_bytes(), "path": "a.wav"}
    image = {"bytes": b"an image", "path": "a.png"}  # once kept in the place of the audio
    rows = {"image": [image], "audio": [audio], "text": ["to rome"], "tags": [[0, 1]]}
    made = pyarrow.table(rows)
    place = tmp_path / "saved"
    place.mkdir()
    with pyarrow.ipc.new_stream(place / "data.arrow", made.schema) as file:
        file.write_table(made)
    features = {"image": {"_type": "Image"}, "audio": {"_type": "Audio"}, "tags": kind}
    (place / "dataset_info.json").write_text(json.dumps({"features": features}))
    (place / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    ((cut,),) = load_data(f"datasets:{place}").values()
    assert cut.supervisions[0].custom["words_tags"] == [["to", "O"], ["rome", "city"]]


def test_a_token_that_s3prl_never_says_is_a_token_elsewhere():
    """Of tokens such as `<eos>` every one counted as left out, however well it was recognised."""
    cut = utterance(units="a <eos>")
    task = TASKS["ctc:units:tokens"].from_cuts([cut])
    frames = torch.nn.functional.one_hot(task.target(cut), task.output_size)[None]
    assert task.decode(frames.float(), None) == [task.reference(cut)] == [["a", "<eos>"]]

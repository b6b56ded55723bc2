"""TIMIT: read American English with phones and their times (LDC93S1).

Garofolo et al., "DARPA TIMIT acoustic-phonetic continuous speech corpus", 1993. The usual splits:
no dialect sentences (SA), 50 speakers for dev, the 24 speakers of the core test set for test. The
lists of speakers and the foldings of the 61 phones to 48 and 39 (Lee and Hon, 1989) come from
lhotse's recipe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from speechft.core.errors import DataError
from speechft.data.corpora import Corpus, register
from speechft.data.corpus_tree import not_here, read_lines, refuse_unfilled
from speechft.data.utterances import Loaded, Utterance, load_splits

RATE = 16000
COUNTS = {"train": 3696, "dev": 400, "test": 192}
SETS = {"39": "the set for scoring (default)", "48": "the set for training", "61": "all phones"}
_HINT = (
    "get TIMIT from https://catalog.ldc.upenn.edu/LDC93S1 and give the folder that holds TRAIN and "
    "TEST, with REGION/SPEAKER/SENTENCE.WAV, .PHN and .TXT in each"
)


def _find(root: Path, _variant: str) -> Path:
    """Give the folder with both parts, whatever it is called."""
    base = next((place for place in (root, *_children(root)) if _has_parts(place)), None)
    if base is None:
        raise not_here("TIMIT", "folders TRAIN and TEST", root, _has_parts)
    parts = [_child(base, name).name for name in ("train", "test")]
    audio, phones = "[wW][aA][vV]", "[pP][hH][nN]"
    return refuse_unfilled(base, [f"{p}/*/*/*.{kind}" for p in parts for kind in (audio, phones)])


@register(
    "timit", partial(Corpus, find=_find, hours=3.6, source=_HINT, counts=COUNTS, variants=SETS)
)
def timit(base: Path, variant: str) -> Loaded:
    """Read `ROOT/{TRAIN,TEST}/REGION/SPEAKER/SENTENCE.{WAV,PHN,TXT}`, in capitals or not.

    The phones are the supervision's alignment `phone` and `custom["phonemes"]`. They are folded to
    39 by default: closures and pauses are `sil`, glottal stops (`q`) are dropped. The variants
    `@48` and `@61` give the set that is usual for training and all phones.

    Raises:
        DataError: a folder is missing, or a split holds no utterance.
    """
    from lhotse.recipes.timit import get_phonemes, get_speakers

    fold = get_phonemes(60 if variant == "61" else int(variant or 39))
    dev, test = get_speakers()
    problems: list[str] = []
    parts = {"train": list(_utterances(_child(base, "train"), fold, problems))}
    others = list(_utterances(_child(base, "test"), fold, problems))
    for split, members in (("dev", set(dev)), ("test", set(test))):
        parts[split] = [u for u in others if u.speaker in members]
    for split, utterances in parts.items():
        if not utterances and not problems:
            raise DataError(
                f"no utterance for the split {split!r}",
                where=base,
                expected="REGION/SPEAKER/SENTENCE.WAV with .PHN and .TXT",
            )
    return load_splits(parts, problems)


def _utterances(part: Path, fold: Mapping[str, str], problems: list[str]) -> Iterator[Utterance]:
    files = sorted(part.glob("*/*/[!.]*"))
    for path in [path for path in files if path.suffix.lower() == ".wav"]:
        sentence = path.name.partition(".")[0]
        # Some copies hold SX37.WAV in NIST's format and SX37.WAV.wav beside it.
        if sentence.lower().startswith("sa") or path.with_suffix("").is_file():
            continue
        name = f"{path.parent.name}-{sentence}".lower()
        try:
            phones = _phones(_sibling(path, sentence, ".phn"), fold)
            text = " ".join(x for _, x in read_lines(_sibling(path, sentence, ".txt")))
        except (OSError, ValueError) as error:
            problems.append(f"{name}: {error}")
            continue
        words, speaker = " ".join(text.split()[2:]), path.parent.name.lower()
        labels = {"phonemes": [phone for phone, _, _ in phones]}
        yield Utterance(name, path, "", words, speaker, "en", labels, alignment=phones)


def _phones(path: Path, fold: Mapping[str, str]) -> list[tuple[str, float, float]]:
    """Read lines "FIRST END PHONE" in samples; phones that the folding drops leave a gap."""
    result = []
    for number, line in read_lines(path):
        fields = line.split()
        if len(fields) != 3 or not (fields[0].isdigit() and fields[1].isdigit()):
            raise ValueError(f"{path}, line {number}: expected 'FIRST END PHONE', found {line!r}")
        first, end = int(fields[0]), int(fields[1])
        if fold and fields[2] not in fold:
            raise ValueError(f"{path}, line {number}: {fields[2]!r} is no phone of TIMIT")
        phone = fold[fields[2]] if fold else fields[2]
        if phone and end > first:
            result.append((phone, first / RATE, (end - first) / RATE))
    return result


def _has_parts(folder: Path) -> bool:
    return {"train", "test"} <= {child.name.lower() for child in _children(folder)}


def _children(folder: Path) -> list[Path]:
    try:
        return [child for child in sorted(folder.iterdir()) if child.is_dir()]
    except OSError:
        return []


def _child(folder: Path, name: str) -> Path:
    return next(child for child in _children(folder) if child.name.lower() == name)


def _sibling(path: Path, sentence: str, suffix: str) -> Path:
    """Give the file of this suffix beside the audio, in capitals or not."""
    for name in (sentence + suffix.upper(), sentence + suffix, sentence.lower() + suffix):
        if (path.parent / name).is_file():
            return path.parent / name
    raise FileNotFoundError(f"no {path.parent / (sentence + suffix.upper())}")

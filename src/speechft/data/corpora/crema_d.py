"""CREMA-D: 91 actors say twelve sentences in six emotions, for emotion recognition.

Cao et al., "CREMA-D: crowd-sourced emotional multimodal actors dataset", IEEE Transactions on
Affective Computing, 2014; https://github.com/CheyneyComputerScience/CREMA-D.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from speechft.data.corpora import Corpus, register
from speechft.data.corpus_tree import not_all, tree
from speechft.data.splitting import NAMES, split_by_speaker
from speechft.data.utterances import Loaded, Utterance, load_splits

CLIPS = 7442
EMOTIONS = {
    "ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"
}  # fmt: skip
SENTENCES = {
    "DFA": "don't forget a jacket",
    "IEO": "it's eleven o'clock",
    "IOM": "i'm on my way to the meeting",
    "ITH": "i think i have a doctor's appointment",
    "ITS": "i think i've seen this before",
    "IWL": "i would like a new alarm clock",
    "IWW": "i wonder what this is about",
    "MTI": "maybe tomorrow it will be cold",
    "TAI": "the airplane is almost full",
    "TIE": "that is exactly what happened",
    "TSI": "the surface is slick",
    "WSI": "we'll stop in a couple of minutes",
}
# Without speech, or with another recording than their name says.
BROKEN = {"1064_IEO_DIS_MD", "1064_TIE_SAD_XX", "1076_MTI_NEU_XX", "1076_MTI_SAD_XX"}
_HINT = (
    "clone https://github.com/CheyneyComputerScience/CREMA-D with git-lfs installed (git lfs pull "
    "fetches the audio); it holds AudioWAV"
)


@register(
    "crema_d",
    partial(
        Corpus,
        find=tree(("CREMA-D", "crema-d"), ("AudioWAV",), ("AudioWAV/*.wav",)),
        hours=5.3,
        source=_HINT,
    ),
)
def crema_d(base: Path, _variant: str) -> Loaded:
    """Read `ROOT/AudioWAV/ACTOR_SENTENCE_EMOTION_LEVEL.wav`; the emotion is the acted one.

    The corpus has no splits of its own: actors are divided into about 80 % `train`, 10 % `dev` and
    10 % `test` by a hash of their number. Four clips that are known to be broken are left out.
    """
    clips = sorted((base / "AudioWAV").glob("[!.]*.wav"))
    problems: list[str] = []
    utterances = []
    for path in clips:
        if path.stem in BROKEN:
            continue
        actor, sentence, emotion, *_ = [*path.stem.split("_"), "", ""]
        if not actor.isdigit() or sentence not in SENTENCES or emotion not in EMOTIONS:
            problems.append(f"{path.name}: expected ACTOR_SENTENCE_EMOTION_LEVEL.wav")
            continue
        text, label = SENTENCES[sentence], {"emotion": EMOTIONS[emotion]}
        utterances.append(Utterance(path.stem, path, path.name, text, actor, "en", label))
    notes = not_all(f"{len(clips)} clips", len(clips), CLIPS)
    loaded = load_splits({"all": utterances}, problems, notes)
    splits = split_by_speaker(list(loaded.splits["all"]))
    return replace(loaded, splits={name: splits[name] for name in NAMES if name in splits})

"""The synthetic corpus on disk: made once, then read as lhotse cuts.

Every cut is labelled synthetic (`cut.custom["synthetic"]`). The folder of a corpus is named by a
hash of its settings and of the generator's version, and appears under that name only when it is
complete. It is made again where a file is no longer what was written.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechft.core.artifact import Artifact, hash_values
from speechft.core.errors import DataError
from speechft.core.files import atomic_dir, cache_folder, read_json, remove_leftovers, write_json
from speechft.core.locks import wait_for_lock
from speechft.core.logging import get_logger
from speechft.core.registry import deferred
from speechft.data.manifests import read_cuts, write_cuts
from speechft.data.synthetic.grammar import OTHER_LANGUAGES
from speechft.data.synthetic.rooms_and_noise import RATE
from speechft.data.synthetic.settings import PRESETS, SyntheticSettings, parse_preset
from speechft.data.synthetic.speaking import audio_path, speak_all
from speechft.data.synthetic.utterance_plan import Planned, make_plan

if TYPE_CHECKING:
    import lhotse
    from lhotse import CutSet, MonoCut
else:
    lhotse = deferred("lhotse")

# Part of the cache's name: raise it with every change that changes a single sample or label.
GENERATOR_VERSION = 1
_log = get_logger(__name__)


def synthetic_cuts(
    preset: str | SyntheticSettings, cache_dir: Path | None = None, *, processes: int | None = None
) -> dict[str, CutSet]:
    """Give the cuts of every split, made on the first call and read from the cache afterwards.

    Args:
        preset: "tiny", "demo", "study", "elsewhere", "pretrain", "rehearsal",
            "languages", or settings.
        cache_dir: where corpora are kept; `$SPEECHFT_CACHE/synthetic`, else
            `~/.cache/speechft/synthetic`.
        processes: how many make it (all processors, up to 8); the result does not depend on it.

    Returns:
        split → cuts with text, phonemes, alignment, speaker, emotion, language, and for commands
        intent, slots and words_tags.

    Raises:
        DataError: eSpeak NG is missing or fails.
        SettingsError: unknown preset.
    """
    folder = make_corpus(preset, cache_dir, processes=processes)
    return {
        name: lhotse.CutSet.from_cuts(
            cut.with_recording_path_prefix(folder)
            for cut in read_cuts(folder / "cuts" / f"{name}.jsonl.gz")
        )
        for name in read_json(folder / "splits.json")
    }


def splits_of(text: str) -> dict[str, CutSet]:
    """Give the splits of PRESET or PRESET@LANGUAGE; of a language without its prefix.

    Where all splits are for pre-training, `train` joins them, and `dev` is what is held out.

    Raises:
        DataError: the preset holds no speech in the language.
        SettingsError: there is no such preset or language.
    """
    preset, language = parse_preset(text)
    splits = synthetic_cuts(preset)
    if language is not None:
        found = {name: _language(name) for name in splits}
        splits = {n.removeprefix(f"{language}_"): splits[n] for n in splits if found[n] == language}
        if not splits:
            raise DataError(
                f"this preset holds no speech in the language {language!r}",
                where=f"synthetic:{text}",
                found=", ".join(dict.fromkeys(found.values())),
            )
    if not any(name.rpartition("_")[2] == "train" for name in splits):
        parts = [c for name, cuts in splits.items() if name.endswith("pretrain") for c in cuts]
        splits["train"] = lhotse.CutSet.from_cuts(parts)
        if "pretrain_dev" in splits:
            splits["dev"] = splits["pretrain_dev"]
    return splits


def _language(split: str) -> str:
    prefix = split.partition("_")[0]
    return prefix if prefix in OTHER_LANGUAGES else "en"


def make_corpus(
    preset: str | SyntheticSettings, cache_dir: Path | None = None, *, processes: int | None = None
) -> Path:
    """Make the corpus unless it is in the cache; give its folder. Arguments as `synthetic_cuts`."""
    settings = PRESETS[preset] if isinstance(preset, str) else preset
    made = _artifact(settings, corpus_folder(settings, cache_dir))
    if made.done:
        return made.folder
    try:
        made.folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            "the cache of synthetic speech cannot be written",
            where=made.folder.parent,
            found=error,
            hint="set SPEECHFT_CACHE to a folder with room",
        ) from None
    with wait_for_lock(made.folder.with_name(f".{made.folder.name}.lock")):
        if not made.done:
            if made.folder.exists():
                _log.warning("synthetic speech is made again, since it is damaged: %s", made.folder)
            remove_leftovers(made.folder)
            _build(settings, made.folder, processes)
    return made.folder


def corpus_folder(settings: SyntheticSettings, cache_dir: Path | None = None) -> Path:
    """Give the folder where the corpus of these settings is or will be."""
    name = hash_values([GENERATOR_VERSION, settings.model_dump()])[:16]
    return (cache_dir or cache_folder() / "synthetic") / name


def _artifact(settings: SyntheticSettings, folder: Path) -> Artifact:
    return Artifact(folder, "synthetic", settings.model_dump(), GENERATOR_VERSION)


def _build(settings: SyntheticSettings, folder: Path, processes: int | None) -> None:
    plan = make_plan(settings)
    jobs = [item.job for utterances in plan.values() for item in utterances]
    started = time.monotonic()
    # In the cache of corpora all that lies in a corpus' folder is its own.
    damaged = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    with atomic_dir(folder, damaged) as temporary:
        (temporary / "audio").mkdir()
        spoken = speak_all(jobs, temporary / "audio", processes)
        (temporary / "cuts").mkdir()
        for name, utterances in plan.items():
            cuts = [_make_cut(item, spoken[item.job.id]) for item in utterances]
            write_cuts(temporary / "cuts" / f"{name}.jsonl.gz", cuts)
        write_json(temporary / "splits.json", list(plan))
        _artifact(settings, temporary).end(["audio", "cuts", "splits.json"], synthetic=True)
    seconds = sum(record["samples"] for record in spoken.values()) / RATE
    speed = seconds / (time.monotonic() - started)
    _log.info("made %.2f hours of synthetic speech at %.0f × real time", seconds / 3600, speed)


def _make_cut(item: Planned, spoken: Mapping[str, Any]) -> MonoCut:
    """Make the cut of an utterance; its audio path is relative to the corpus."""
    name, samples, sentence = item.job.id, spoken["samples"], item.sentence
    phones = [lhotse.supervision.AlignmentItem(*phone) for phone in spoken["phones"]]
    custom: dict[str, Any] = {
        "phonemes": [phone.symbol for phone in phones],
        "emotion": item.emotion,
        "synthetic": True,
    }
    if sentence.intent:
        tags = [list(tag) for tag in sentence.tags]
        slots = [list(slot) for slot in sentence.slots]
        custom |= {"intent": sentence.intent, "slots": slots, "words_tags": tags}
    duration = samples / RATE
    supervision = lhotse.SupervisionSegment(
        id=name,
        recording_id=name,
        start=0.0,
        duration=duration,
        text=sentence.text,
        language=item.job.language,
        speaker=item.speaker,
        alignment={"phone": phones},
        custom=custom,
    )
    source = lhotse.audio.AudioSource(
        type="file", channels=[0], source=str(audio_path(Path("audio"), name))
    )
    recording = lhotse.Recording(name, [source], RATE, samples, duration)
    marked = {"synthetic": True}
    return lhotse.MonoCut(name, 0.0, duration, 0, [supervision], recording=recording, custom=marked)

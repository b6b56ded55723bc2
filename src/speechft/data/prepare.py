"""`speechft data prepare`: checked data as lhotse cuts in a folder, ready to be used as DATA."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lhotse import CutSet
from lhotse.cut import Cut

from speechft._version import __version__
from speechft.core.artifact import Artifact, hash_values, stage_of
from speechft.core.files import atomic_dir, read_json, remove_leftovers, write_json
from speechft.core.logging import get_logger
from speechft.core.paths import in_the_way, said_place
from speechft.data.check import CheckReport, check_loaded
from speechft.data.cuts import cut_key
from speechft.data.data_names import named_kind
from speechft.data.external_programs import kept_folder
from speechft.data.load import corpus_name, find_data
from speechft.data.manifests import REPORT, write_cuts
from speechft.data.utterances import Loaded, problems_error

STAGE: Final = "data prepare"
AUDIO: Final = "audio"
_log = get_logger(__name__)


def prepare_data(
    spec: str,
    out: Path,
    seed: int = 0,
    *,
    decode: bool = True,
    skip_bad: bool = False,
    force: bool = False,
    allow_commands: bool = False,
) -> CheckReport:
    """Check data and write one `SPLIT.jsonl.gz` per split; the audio stays where it is.

    Reading the folder needs no look at the audio files, and the splits no longer depend on a seed.
    A folder that was made of the same data with the same arguments is left as it is.

    Args:
        spec: DATA, as `sources.load_data` takes it.
        out: the folder; new, empty or one that this function wrote, in which other files stay.
        seed: of the split of data that comes without one.
        decode: decode every file; otherwise its header has to do.
        skip_bad: leave out utterances whose audio is missing or cannot be used.
        force: do it again even if it is done.
        allow_commands: run the commands that cuts name as the source of their audio; what they
            give is kept in OUT/audio.

    Raises:
        DataError: the check found errors (all are listed).
        SettingsError: `out` holds something else, or cannot be written.
    """
    with said_place(out, "choose another --out", (errno.EEXIST, errno.ELOOP)):
        remove_leftovers(out)
        names = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if (names and stage_of(out) != STAGE) or out.is_file():
        expected = "no folder, an empty one, or what `data prepare` made"
        raise in_the_way(out, names or ["a file"], expected, "choose another --out")
    loaded = find_data(spec, seed, allow_commands=allow_commands)
    settings = {"data": spec, "seed": seed, "decode": decode, "skip_bad": skip_bad}
    depends = {**settings, "speechft": __version__, "known": hash_values(_known(loaded))}
    made = Artifact(out, STAGE, depends)
    if made.done and not force:
        _log.info("%s: nothing to do, the data has not changed", out)
        saved = read_json(out / REPORT)
        return CheckReport(warnings=saved["warnings"], summary=saved["summary"])
    report = check_loaded(loaded, decode)
    if skip_bad:
        _leave_out(loaded, report)
    if not report.passed:
        raise problems_error(report.errors, spec, loaded.source)
    place = said_place(out, "choose another --out", (errno.EEXIST, errno.ELOOP))
    with place, atomic_dir(out) as temporary:
        for name, cuts in loaded.splits.items():
            if len(cuts):
                write_cuts(temporary / f"{name}.jsonl.gz", _taken_in(cuts, temporary))
        about = {"warnings": report.warnings, "summary": report.summary}
        write_json(temporary / REPORT, {"official": loaded.official, **about})
        replace(made, folder=temporary).end(path.name for path in temporary.iterdir())
    return report


def default_folder(spec: str) -> Path:
    """Give `data/NAME` for a spec: the corpus and its variant, or the file's name."""
    name, rest = named_kind(spec)
    if name == "synthetic":
        return Path("data") / f"{name}-{rest}"
    return Path("data") / (corpus_name(name, rest, "-") or Path(rest).name.partition(".")[0])


def _known(loaded: Loaded) -> list[Any]:
    """Give all that is known without decoding: labels, files, their lengths."""
    cuts = {n: [hash_values(cut.to_dict()) for cut in own] for n, own in loaded.splits.items()}
    return [loaded.problems, loaded.notes, cuts]


def _taken_in(cuts: CutSet, folder: Path) -> Iterator[Cut]:
    """Take audio that was in no file into the folder; all other audio stays where it is."""
    for cut in cuts:
        sources = []
        for source in cut.recording.sources:
            path = Path(source.source)
            if path.is_relative_to(kept_folder()):
                name = "-".join(path.relative_to(kept_folder()).parts)
                (folder / AUDIO).mkdir(exist_ok=True)
                shutil.copyfile(path, folder / AUDIO / name)
                source = replace(source, source=f"{AUDIO}/{name}")
            sources.append(source)
        yield replace(cut, recording=replace(cut.recording, sources=sources))


def _leave_out(loaded: Loaded, report: CheckReport) -> None:
    """Turn errors about single utterances' audio into warnings, and drop these utterances.

    Whatever else is wrong, such as a word without a pronunciation, stays an error.
    """
    single = {*loaded.unheard, *report.unusable.values()}
    report.warnings += [f"left out: {error}" for error in report.errors if error in single]
    report.errors = [error for error in report.errors if error not in single]
    for name, cuts in loaded.splits.items():
        loaded.splits[name] = CutSet.from_cuts(c for c in cuts if cut_key(c) not in report.unusable)
        if name in report.summary:  # nothing was checked where no utterance is left
            report.summary[name]["utterances"] = len(loaded.splits[name])

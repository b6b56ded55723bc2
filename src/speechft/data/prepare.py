"""`speechft data prepare`: checked data as lhotse cuts in a folder, ready to be used as DATA."""

from __future__ import annotations

from pathlib import Path

from speechft.core.errors import DataError
from speechft.core.files import atomic_dir, write_json
from speechft.core.logging import get_logger
from speechft.core.provenance import write_provenance
from speechft.data.check import CheckReport, check_data
from speechft.data.sources import load_data
from speechft.data.utterances import problems_error

_log = get_logger(__name__)


def prepare_data(spec: str, out: Path, seed: int = 0) -> CheckReport:
    """Check data and write one `SPLIT.jsonl.gz` per split; the audio stays where it is.

    Reading the folder needs no look at the audio files, and the splits no longer depend on a seed.

    Args:
        spec: DATA, as `sources.load_data` takes it.
        out: the folder; replaced if it is one that this function wrote.
        seed: of the split of data that comes without one.

    Raises:
        DataError: the check found errors (all are listed), or `out` holds something else.
    """
    if out.exists() and not (out / "check.json").is_file():
        raise DataError(
            "the output folder holds something else", where=out, hint="choose a new folder"
        )
    report = check_data(spec, seed)
    if not report.passed:
        raise problems_error(report.errors, spec)
    for warning in report.warnings:
        _log.warning("%s", warning)
    with atomic_dir(out) as temporary:
        for name, cuts in load_data(spec, seed=seed).items():
            cuts.to_file(temporary / f"{name}.jsonl.gz")
        write_json(
            temporary / "check.json", {"warnings": report.warnings, "summary": report.summary}
        )
        settings = {"data": spec, "seed": seed}
        write_provenance(temporary, stage="data prepare", settings=settings)
    return report

"""Read results: find `results.jsonl`, and learn which encoder is θ0, θ' or θ̂."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from speechft.core.errors import DataError
from speechft.core.files import read_json, read_jsonl
from speechft.core.provenance import FILE_NAME
from speechft.stages.reporting.roles import infer_roles, number, read_object

RESULTS = "results.jsonl"
ROLES = "encoders.json"
RUN = "run.json"
Role = Literal["pretrained", "finetuned", "merged", "other"]
Group = tuple[str, str, str]


@dataclass(frozen=True)
class Encoder:
    """One row of the comparison; the same row in every seed.

    Attributes:
        role: θ0 "pretrained", θ' "finetuned", θ̂ "merged", or "other".
        tuned_on: the fine-tuning task ("" for θ0).
        method: how it was fine-tuned ("stable", "lora").
        merge_method: how it was merged ("linear").
        alpha: 0 for θ0, 1 for θ', between for θ̂; none where unknown.
        name: what tells encoders of one role apart ("" where the rest does).
        run: name of the run, where several are compared.
    """

    role: Role
    tuned_on: str = ""
    method: str = ""
    merge_method: str = ""
    alpha: float | None = None
    name: str = ""
    run: str = ""

    @property
    def group(self) -> Group:
        """What belongs together: θ' and the θ̂ made from it (run, fine-tuning task, method)."""
        return (self.run, self.tuned_on, self.method)


@dataclass(frozen=True)
class Measurement:
    """One metric of one encoder with one seed, in percent."""

    encoder: Encoder
    seed: int
    task: str
    metric: str
    value: float
    direction: str
    split: str = "test"
    items: int = 0
    suite: str = ""
    main: bool = True


@dataclass(frozen=True)
class Curve:
    """What was logged while one encoder trained."""

    title: str
    seed: int
    records: list[dict[str, Any]]


@dataclass
class Evidence:
    """All that a report is made from.

    Attributes:
        measurements: every metric, one per (encoder, seed, task, metric).
        curves: the training curves that were found.
        runs: the `run.json` of each run, where there is one.
        provenance: folder → its `speechft.json`.
    """

    measurements: list[Measurement] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    provenance: dict[str, dict[str, Any]] = field(default_factory=dict)
    synthetic: bool = False


def read_evidence(folders: Sequence[Path]) -> Evidence:
    """Read run folders.

    Args:
        folders: each holds `results.jsonl`, or folders that do.

    Raises:
        DataError: a folder is missing, holds no results, or a record lacks a field.
    """
    evidence = Evidence()
    seen: set[tuple[Any, ...]] = set()
    for folder in folders:
        files = find_results(folder)
        run = read_object(folder / RUN)
        if run:
            evidence.runs.append(run)
        name = str(run.get("name", folder.resolve().name))
        for file in files:
            for found in _measurements(file, name, _roles(file, folder)):
                encoder = found.encoder
                key = (encoder, found.seed, found.task, found.metric, found.split, found.suite)
                if key not in seen:
                    seen.add(key)
                    evidence.measurements.append(found)
            evidence.synthetic |= _synthetic(file)
        evidence.synthetic |= str(run.get("data", "")).startswith("synthetic")
        evidence.curves += _curves(folder)
        evidence.provenance |= _provenance(folder)
    evidence.measurements = _without_idle_run(evidence.measurements)
    return evidence


def find_results(folder: Path) -> list[Path]:
    """Give every `results.jsonl` in a folder and below.

    Raises:
        DataError: there is none, or no folder.
    """
    if not folder.is_dir():
        raise DataError("no such run folder", where=folder, hint="check the path")
    files = sorted(p for p in folder.rglob(RESULTS) if not _hidden(p.relative_to(folder)))
    if not files:
        raise DataError(
            "no results in this folder",
            where=folder,
            expected=f"{RESULTS}, as `speechft evaluate` and `speechft run` write it",
            hint="give the folder of an evaluation that has ended",
        )
    return files


def _roles(file: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Read the nearest `encoders.json` between the results and the run's folder."""
    for place in file.parents:
        if (place / ROLES).is_file():
            return {str(r["encoder"]): r for r in _json_list(place / ROLES)}
        if place == folder:
            break
    return {}


def _measurements(
    file: Path, run: str, roles: Mapping[str, Mapping[str, Any]]
) -> Iterable[Measurement]:
    records = read_jsonl(file)
    if not records:
        raise DataError("the results are empty", where=file, hint="evaluate again")
    inferred = infer_roles(records) if not roles else {}
    for line, record in enumerate(records, start=1):
        try:
            label = str(record["encoder"])
            about = roles.get(label) or inferred.get(label) or {"role": "other", "name": label}
            yield Measurement(
                encoder=_encoder(about, run),
                seed=int(record["seed"]),
                task=str(record["task"]),
                metric=str(record["metric"]),
                value=float(record["value"]),
                direction=str(record["direction"]),
                split=str(record.get("split", "test")),
                items=int(record.get("items", 0)),
                suite=str(record.get("suite", "")),
                main=bool(about.get("main", True)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                "a record of the results cannot be used",
                where=f"{file}, line {line}",
                expected="encoder, task, metric, value, direction, seed",
                found=f"{type(error).__name__} {error}",
            ) from None


def _encoder(about: Mapping[str, Any], run: str) -> Encoder:
    alpha = number(about.get("alpha"))
    return Encoder(
        role=about["role"],
        tuned_on=str(about.get("tuned_on") or ""),
        method=str(about.get("method") or ""),
        merge_method=str(about.get("merge_method") or ""),
        alpha=alpha,
        name=str(about.get("name") or ""),
        run=run,
    )


def _curves(folder: Path) -> list[Curve]:
    curves = []
    for file in sorted(folder.rglob("metrics.jsonl")):
        if _hidden(file.relative_to(folder)):
            continue
        made = read_object(file.parent / FILE_NAME)
        settings = made.get("settings", {})
        task, method = settings.get("task"), settings.get("method", "")
        title = f"{method} fine-tuning on {task.upper()}" if task else file.parent.name
        curves.append(Curve(title.strip(), int(settings.get("seed", 0)), read_jsonl(file)))
    return curves


def _provenance(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted(folder.rglob(FILE_NAME))
    shown = [f.parent.relative_to(folder) for f in files]
    return {
        path.as_posix(): read_object(file)
        for path, file in zip(shown, files, strict=True)
        if not _hidden(path)
    }


def _without_idle_run(measurements: list[Measurement]) -> list[Measurement]:
    """Drop the run's name from the rows where there is only one run."""
    if len({m.encoder.run for m in measurements}) != 1:
        return measurements
    return [
        Measurement(**{**vars(m), "encoder": Encoder(**{**vars(m.encoder), "run": ""})})
        for m in measurements
    ]


def _synthetic(results: Path) -> bool:
    made = read_object(results.parent / FILE_NAME)
    data = made.get("settings", {}).get("data", "")
    given = data.values() if isinstance(data, dict) else [data]
    return any(str(one).startswith("synthetic") for one in given)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _json_list(path: Path) -> list[dict[str, Any]]:
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return []
    return value if isinstance(value, list) else []

"""Read results: find `results.jsonl`, and learn which encoder is θ0, θ' or θ̂."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, get_args

from speechft.core.artifact import RECORD, differing
from speechft.core.errors import DataError
from speechft.core.escaping import printable, task_heading
from speechft.core.files import read_json, read_jsonl
from speechft.data.data_names import is_synthetic
from speechft.probing.hardly_learned import has_hardly_learned
from speechft.probing.heard_shares import share_heard
from speechft.probing.settings import RESULTS
from speechft.reporting.dev_scores import dev_measurements
from speechft.reporting.encoder_roles import infer_roles, number, read_about
from speechft.reporting.measurements import Curve, Encoder, Evidence, Measurement, Role
from speechft.reporting.settings import refuse_absent_run
from speechft.training.logged_metrics import read_metrics

ROLES = "encoders.json"
RUN = "run.json"
Told = dict[tuple[Any, ...], float | str]


def read_evidence(folders: Sequence[Path]) -> Evidence:
    """Read run folders.

    Args:
        folders: each holds `results.jsonl`, or folders that do.

    Raises:
        DataError: a folder is missing, holds no results, or a record lacks a field.
    """
    evidence = Evidence()
    seen: Told = {}
    for folder in folders:
        files = find_results(folder)
        run = read_about(folder / RUN)
        if run:
            evidence.runs.append(run)
        name = str(run.get("name", folder.resolve().name))
        read = [_read(f, name, _roles(f, folder)) for f in files]
        # Another run of this name; one of the same run, with other seeds or copied, has no other
        # value for anything, and no other encoder in a role.
        name = _apart(seen, [m for found, _ in read for m in found], name, folder)
        for file, (found, dev) in zip(files, read, strict=True):
            own = _apart(seen, found, name, file.parent)  # of several evaluations in the folder
            evidence.dev += [m for one in dev if (m := _of_run(one, own)) not in evidence.dev]
            for one in (_of_run(m, own) for m in found):
                if _key(one) not in seen:
                    seen |= _told(one)
                    evidence.measurements.append(one)
        for file in files:
            made_here = _made_here(file, run)
            evidence.synthetic |= True in made_here
            evidence.real |= False in made_here
        evidence.curves += _curves(folder)
        evidence.provenance |= _provenance(folder)
    if len({m.encoder.run for m in evidence.measurements}) == 1:
        # The run's name says nothing where there is only one.
        evidence.measurements = [_of_run(m, "") for m in evidence.measurements]
        evidence.dev = [_of_run(m, "") for m in evidence.dev]
    return evidence


def _apart(seen: Told, found: Sequence[Measurement], name: str, folder: Path) -> str:
    """Give a run's name, with the end of its folder's path where another of it says otherwise."""
    parts = folder.resolve().parts
    ends = (Path(*parts[-count:]).as_posix() for count in range(1, len(parts) + 1))
    names = (f"{name} ({end})" for end in ends if end != name)
    own = name
    while any(
        seen.get(what, said) != said for m in found for what, said in _told(_of_run(m, own)).items()
    ):
        own = next(names)
    return own


def _told(one: Measurement) -> Told:
    """Give what no result of the same run may say otherwise: a value, and of which encoder."""
    way = (one.encoder, one.seed, one.protocol, one.precision, one.states)
    return {_key(one): one.value} | {(*way, name): said for name, said in one.identity.items()}


def _key(one: Measurement) -> tuple[Any, ...]:
    measured_by = (one.suite, one.protocol, one.precision, one.states)
    return (one.encoder, one.seed, one.task, one.metric, one.split, *measured_by)


def _of_run(one: Measurement, run: str) -> Measurement:
    return replace(one, encoder=replace(one.encoder, run=run))


def find_results(folder: Path) -> list[Path]:
    """Give every `results.jsonl` in a folder and below.

    Raises:
        DataError: there is none, or no folder.
    """
    refuse_absent_run(folder)
    files = visible(folder, RESULTS)
    if not files:
        raise DataError(
            "no results in this folder",
            where=folder,
            expected=f"{RESULTS}, as `speechft evaluate` and `speechft run` write it",
            hint="give the folder of an evaluation that has ended",
        )
    return files


NEEDED: Final = ("encoder", "task", "metric", "value", "seed")


def read_results(file: Path, needed: Sequence[str] = NEEDED) -> list[dict[str, Any]]:
    """Read a file of results.

    Args:
        file: with a record in each line.
        needed: fields that no record may lack.

    Raises:
        DataError: it cannot be read, or a record lacks one of them.
    """
    refuse_edited(file)
    try:
        records = read_jsonl(file)
        for record in records:
            held = {name: record[name] for name in needed}
            number, seed = held.pop("value"), held.pop("seed", 0)
            texts = all(isinstance(value, str) for value in held.values())
            if not texts or type(seed) is not int or not math.isfinite(number):
                raise ValueError(record)
        return records
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            "the results cannot be read",
            where=file,
            expected=f"one record per line, with {', '.join(needed)}",
            found=f"{type(error).__name__}: {error}",
            hint="evaluate again with this version",
        ) from None


#: What files of an evaluation hold, for messages; others hold results.
HELD: Final = {"predictions.jsonl": "predictions", "head.safetensors": "weights of a head"}


def refuse_edited(file: Path) -> None:
    """Refuse results, predictions or a head that are not what the record beside them names.

    Raises:
        DataError: they were changed.
    """
    products = read_about(file.parent / RECORD).get("products")
    stamp = products.get(file.name) if isinstance(products, Mapping) else None
    try:
        edited = stamp is not None and differing(file.parent, {file.name: stamp})
    except OSError:  # whoever reads them says so
        return
    if edited:
        raise DataError(
            f"the {HELD.get(file.name, 'results')} are not those that were written",
            where=file,
            expected=f"the file that {RECORD} beside it names",
            found="another content",
            hint="evaluate again, which writes them anew; if the change is yours, use a copy of "
            f"the folder without {RECORD}",
        )


def visible(folder: Path, name: str) -> list[Path]:
    """Give the files of a name in a folder and below, but for what is hidden."""
    found = folder.rglob(name)
    return sorted(
        path
        for path in found
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    )


def _roles(file: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Read the nearest `encoders.json` between the results and the run's folder."""
    for place in file.parents:
        if (place / ROLES).is_file():
            return _read_roles(place / ROLES)
        if place == folder:
            break
    return {}


def _read(
    file: Path, run: str, roles: Mapping[str, Mapping[str, Any]]
) -> tuple[list[Measurement], list[Measurement]]:
    """Give what an evaluation found, and what its chosen probes had on the dev splits."""
    refuse_edited(file)
    try:
        records = read_jsonl(file)
    except (OSError, ValueError) as error:
        raise DataError(
            "the results cannot be read", where=file, found=error, hint="evaluate again"
        ) from None
    if not records:
        raise DataError("the results are empty", where=file, hint="evaluate again")
    whole = [record for record in records if isinstance(record, dict)]
    abouts = roles or infer_roles(whole, read_about(file.parent / RECORD))
    encoders = {
        label: _encoder(abouts.get(label) or {"role": "other", "name": label}, run)
        for label in {str(record["encoder"]) for record in whole if "encoder" in record}
    }
    found = list(_measurements(file, records, abouts, encoders))
    return found, list(dev_measurements(file, whole, encoders))


def _measurements(
    file: Path,
    records: Sequence[Any],
    abouts: Mapping[str, Mapping[str, Any]],
    encoders: Mapping[str, Encoder],
) -> Iterable[Measurement]:
    known: dict[str, dict[str, str]] = {}
    for line, record in enumerate(records, start=1):
        try:
            label = str(record["encoder"])
            about = abouts.get(label, {})
            yield Measurement(
                encoder=encoders[label],
                seed=int(record["seed"]),
                task=printable(str(record["task"])),
                metric=printable(str(record["metric"])),
                value=_finite(record["value"]),
                direction=_direction(record["direction"]),
                split=str(record.get("split", "test")),
                items=int(record.get("items", 0)),
                suite=str(record.get("suite", "")),
                protocol=str(record.get("protocol", "clean")),
                precision=str(record.get("precision", "float32")),
                states=printable(str(record.get("states", ""))),
                main=bool(about.get("main", True)),
                data_hash=str(record.get("data_hash", "")),
                heard=share_heard(record),
                hardly_learned=has_hardly_learned(record),
                predictions=_predictions(file, record.get("cell")),
                probe=probe_of(file, record, known),
                identity={n: str(record[n]) for n in ("encoder_id", "encoder_hash") if n in record},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                "a record of the results cannot be used",
                where=f"{file}, line {line}",
                expected="encoder, task, metric, value, direction, seed",
                found=f"{type(error).__name__} {error}",
            ) from None


def probe_of(
    results: Path, record: Mapping[str, Any], known: dict[str, dict[str, str]]
) -> dict[str, str]:
    """Give how a record's probe was trained: what the record says, and what that of its cell does.

    Args:
        results: the file of the record.
        record: of one metric.
        known: cell → the same, of the records before.
    """
    said = {"head size": str(record["head"])} if "head" in record else {}
    predictions = _predictions(results, record.get("cell"))
    if predictions is None:
        return said
    if predictions.parent.name not in known:
        depends = read_about(predictions.with_name(RECORD)).get("depends")
        plan = depends.get("plan") if isinstance(depends, Mapping) else None
        plan = plan if isinstance(plan, Mapping) else {}
        known[predictions.parent.name] = {
            printable(_PLAN.get(key, key.replace("_", " "))): printable(str(value))
            for key, value in plan.items()
        }
    return said | known[predictions.parent.name]


#: What readers know some fields of a probe's plan as.
_PLAN: Final = {"steps": "updates", "rates": "learning rates"}


def _predictions(results: Path, cell: Any) -> Path | None:
    """Give where an evaluation keeps what a probe predicted, always within its own folder."""
    if not isinstance(cell, str) or not cell or Path(cell).name != cell:
        return None
    return results.parent / "cells" / cell / "predictions.jsonl"


def _encoder(about: Mapping[str, Any], run: str) -> Encoder:
    keys = ("tuned_on", "method", "merge_method", "name", "base", "tuning")
    texts = {key: printable(str(about.get(key) or "")) for key in keys}
    alpha = number(about.get("alpha"))
    return Encoder(role=about["role"], alpha=alpha, run=printable(run), **texts)


def _curves(folder: Path) -> list[Curve]:
    curves = []
    for file in visible(folder, "metrics.jsonl"):
        settings = read_about(file.parent / RECORD).get("settings", {})
        task, method = settings.get("task"), settings.get("method", "")
        title = f"{method} fine-tuning on {task_heading(str(task))}" if task else file.parent.name
        seed = int(number(settings.get("seed")) or 0)
        curves.append(Curve(printable(title.strip()), seed, list(filter(None, read_metrics(file)))))
    return curves


def _provenance(folder: Path) -> dict[str, dict[str, Any]]:
    files = visible(folder, RECORD)
    return {file.parent.relative_to(folder).as_posix(): read_about(file) for file in files}


def _made_here(results: Path, run: Mapping[str, Any]) -> set[bool]:
    """Tell from the records, or else from the run, whether their data are synthetic speech."""
    names = {str(one.get("data") or run.get("data", "")) for one in read_jsonl(results)}
    return {is_synthetic(name) for name in names}


def _read_roles(path: Path) -> dict[str, dict[str, Any]]:
    try:
        roles = {str(record["encoder"]): dict(record) for record in read_json(path)}
        unknown = {str(about["role"]) for about in roles.values()} - set(get_args(Role))
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = f"{type(error).__name__} {error}"
    else:
        if not unknown:
            return roles
        found = f"the role {min(unknown)!r}"
    raise DataError(
        "the encoders' roles cannot be read",
        where=path,
        expected="a list of encoder, role, alpha, as `speechft run` writes it",
        found=found,
        hint="run the recipe again, or remove the file: then provenance tells the roles",
    )


def _direction(value: Any) -> str:
    if value not in ("higher", "lower"):
        raise ValueError(f"the direction {value!r} is neither 'higher' nor 'lower'")
    return str(value)


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"the value {number} is no finite number")
    return number

"""Rows of the leaderboard: published ones, and those of one's own runs of the same suite."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from speechft.core.errors import DataError, SettingsError
from speechft.core.escaping import task_heading
from speechft.core.nearest_names import did_you_mean
from speechft.data.data_names import is_synthetic
from speechft.metrics.measures import direction
from speechft.metrics.published import ROWS
from speechft.metrics.statistics import mean
from speechft.metrics.superb import REFERENCES, any_score, score_text
from speechft.probing.heard_shares import is_dev_alone, share_heard
from speechft.probing.settings import RESULTS, SUITES
from speechft.reporting.comparison import refuse_several_suites
from speechft.reporting.measurements import HEARD, NOT_KNOWN, Scores
from speechft.reporting.read_results import find_results, probe_of, read_results

Metric = tuple[str, str]
Found = tuple[Path, Path, Mapping[str, Any]]  # run folder, folder of the results, record


@dataclass
class LeaderboardRow:
    """One encoder.

    Attributes:
        name: of the encoder.
        values: (task, metric) → values of all seeds, in percent.
        score: SUPERB_S or suite score; none where a task is missing.
        source: where a published row is from; empty for one's own.
        run: folder of one's own row.
        why_apart: why the row is not ranked; empty where it is.
        heard: task → largest share of its test split that the encoder heard with labels, or was
            chosen on.
        as_dev: those of these tasks where it was chosen on them alone.
        unknown: tasks of which nobody knows whether it heard some of the test split.
    """

    name: str
    values: dict[Metric, list[float]]
    score: float | None = None
    source: str = ""
    run: str = ""
    why_apart: str = ""
    heard: dict[str, float] = field(default_factory=dict)
    as_dev: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)

    def mark(self, task: str | None = None) -> str:
        """Give the mark of a task's cells, or of the score: heard with labels, or not known."""
        marked = {HEARD: set(self.heard), NOT_KNOWN: self.unknown}
        found = [mark for mark, own in marked.items() if (task in own if task else own)]
        return found[0] if found else ""

    def mean(self, metric: Metric) -> float | None:
        """Give the mean over seeds."""
        values = self.values.get(metric)
        return mean(values) if values else None


@dataclass
class Leaderboard:
    """The leaderboard of one suite.

    Attributes:
        suite: label.
        title: of the suite.
        columns: (task, metric), in the suite's order.
        ranked: best first; rows without a score last.
        apart: one's own rows that cannot be ranked with the others.
        score_name: "SUPERB_S" or "Suite score".
        score_text: how it is computed.
        sources: of the published rows.
        synthetic: tasks that ranked rows were measured on with synthetic speech.
    """

    suite: str
    title: str
    columns: list[Metric]
    ranked: list[LeaderboardRow]
    apart: list[LeaderboardRow] = field(default_factory=list)
    score_name: str = ""
    score_text: str = ""
    sources: list[str] = field(default_factory=list)
    synthetic: list[str] = field(default_factory=list)


def make_leaderboard(folders: Sequence[Path], suite: str | None = None) -> Leaderboard:
    """Collect the rows.

    Args:
        folders: run folders; each holds `results.jsonl`, or folders that do.
        suite: show this suite alone, whatever else the folders hold.

    Raises:
        DataError: a folder holds no results, they are of several suites, or one task was measured
            on different data.
        SettingsError: the folders hold nothing of the suite.
    """
    records: list[Found] = [
        (folder, file.parent, record)
        for folder in folders
        for file in find_results(folder)
        for record in read_results(file)
        if record.get("split", "test") == "test"
    ]
    labels = {str(_field(r, "suite", place)): str(place) for _, place, r in records}
    if suite is not None and suite not in labels and (suite not in SUITES or folders):
        raise SettingsError(
            f"no results of the suite {suite!r}",
            expected=", ".join(labels) or ", ".join(SUITES),
            hint=did_you_mean(suite, [*labels, *SUITES]),
        )
    if suite is None:
        refuse_several_suites(labels)
    chosen = suite or next(iter(labels), "superb10")
    reference = _reference(chosen)
    own = [found for found in records if found[2]["suite"] == chosen]
    published = _published(chosen)
    columns = _columns(chosen, own, published)
    rows = [*published, *_own_rows(chosen, own, {task for task, _ in columns})]
    if not published:
        _refuse_other_data(own)
    if chosen not in SUITES:
        _refuse_other_probes(own)
    for row in rows:
        row.score = _score(chosen, columns, row)
    return Leaderboard(
        suite=chosen,
        title=SUITES[chosen].title if chosen in SUITES else "a suite of your own",
        columns=columns,
        ranked=_ranked([row for row in rows if not row.why_apart]),
        apart=_ranked([row for row in rows if row.why_apart]),
        score_name="SUPERB_S" if reference else "Suite score",
        score_text=score_text(reference)
        + (f" {REFERENCES[reference].source}" if reference else ""),
        sources=list(dict.fromkeys(row.source for row in published)),
        synthetic=[] if reference else _synthetic(record for _, _, record in own),
    )


def _published(suite: str) -> list[LeaderboardRow]:
    if _reference(suite) is None:
        return []
    tasks = SUITES[suite].tasks
    return [
        LeaderboardRow(
            row.name,
            {(t, m): [v] for t in tasks for m, v in row.scores[t].items()},
            source=row.source,
        )
        for row in ROWS
        if set(tasks) <= set(row.scores)
    ]


_ROW: Final = ("encoder", "protocol", "precision", "states")
#: What a row has one of, for each of some other fields.
_SAME: Final = {
    "value": ("task", "metric", "seed"),
    "data_hash": ("task",),
    "encoder_id": ("seed",),
    "encoder_hash": ("seed",),
}


def _by_run(records: Sequence[Found]) -> dict[tuple[Path, str, str], list[Found]]:
    """Give (folder, encoder, way of measuring) → records.

    The folder is the run's, or that of an evaluation which has other values than one before it in
    the run, or another encoder or other data under the same name; the way says protocol, precision
    and states where they are not the usual ones.
    """
    told: dict[tuple[str, ...], Any] = {}
    apart: set[Path] = set()
    for folder, place, record in records:
        for of in (name for name in _SAME if name in record):
            one = (of, str(folder), *(str(record.get(n, "")) for n in (*_ROW, *_SAME[of])))
            if told.setdefault(one, record[of]) != record[of]:
                apart.add(place)
    groups: dict[tuple[Path, str, str], list[Found]] = {}
    for found in records:
        folder, place, record = found
        name, usual = str(_field(record, "encoder", place)), ("clean", "float32", "")
        ways = (str(record.get(field, "")) for field in ("protocol", "precision", "states"))
        way = ", ".join(one for one in ways if one not in usual)
        groups.setdefault((place if place in apart else folder, name, way), []).append(found)
    return groups


def _own_rows(suite: str, records: Sequence[Found], tasks: set[str]) -> list[LeaderboardRow]:
    """Give one row per encoder and run; its seeds, in folders of their own or not, are one row."""
    groups = _by_run(records)
    names, places = [name for _, name, _ in groups], _told_apart([place for place, _, _ in groups])
    rows = []
    for (folder, name, way), own in groups.items():
        further = [places[folder]] if names.count(name) > 1 else []
        further += [way] if way else []
        values: dict[Metric, dict[int, float]] = {}
        heard: dict[str, float] = {}
        for _, place, record in own:
            metric = (str(_field(record, "task", place)), str(_field(record, "metric", place)))
            seed = int(_field(record, "seed", place))
            values.setdefault(metric, {})[seed] = float(_field(record, "value", place))
            if metric[0] in tasks and (share := share_heard(record)):
                heard[metric[0]] = max(share, heard.get(metric[0], 0.0))
        asked = [record for _, _, record in own if record["task"] in tasks]
        trained_on = {r["task"] for r in asked if share_heard(r) and not is_dev_alone(r)}
        as_dev = set(heard) - trained_on
        wrong = [_why_apart(suite, [record for _, _, record in own]), _why_heard(heard, as_dev)]
        rows.append(
            LeaderboardRow(
                f"{name} ({', '.join(further)})" if further else name,
                {metric: [v for _, v in sorted(seeds.items())] for metric, seeds in values.items()},
                run=str(folder),
                why_apart="; ".join(filter(None, wrong)),
                heard=heard,
                as_dev=as_dev,
                unknown={r["task"] for r in asked if share_heard(r) is None},
            )
        )
    return rows


def _told_apart(folders: Sequence[Path]) -> dict[Path, str]:
    """Give folders by the ends of their paths, as long as it takes to tell them apart."""
    parts = {folder: folder.resolve().parts for folder in folders}
    names: dict[Path, str] = {}
    for count in range(1, 1 + max(map(len, parts.values()), default=0)):
        names = {folder: Path(*own[-count:]).as_posix() for folder, own in parts.items()}
        if len(set(names.values())) == len(set(parts.values())):
            break
    return names


def _why_apart(suite: str, records: Sequence[Mapping[str, Any]]) -> str:
    """Say why a row may not stand among published ones; empty where it may."""
    if _reference(suite) is None:
        return ""
    wrong = sorted({str(r["task"]) for r in records if r.get("official_test") is False})
    if wrong:
        return f"not the official test set of {', '.join(wrong)}"
    made = _synthetic(records)
    return f"synthetic data for {', '.join(made)}" if made else ""


def _synthetic(records: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted({str(r["task"]) for r in records if is_synthetic(str(r.get("data", "")))})


def _why_heard(heard: Mapping[str, float], as_dev: Collection[str]) -> str:
    shares = ", ".join(
        f"{task_heading(t)} ({100 * s:.3g} %{', as dev' * (t in as_dev)})"
        for t, s in sorted(heard.items())
    )
    return f"test speech or speakers heard in tuning: {shares}" if shares else ""


def _refuse_other_data(records: Sequence[Found]) -> None:
    """Refuse rows of one task on different data, where no suite says what the data is."""
    seen: dict[str, tuple[str, Path]] = {}
    for _, place, record in records:
        task, data = str(record["task"]), str(record.get("data_hash", ""))
        first = seen.setdefault(task, (data, place))
        if first[0] != data:
            raise DataError(
                f"the scores of {task!r} were measured on different data",
                where=place,
                expected=f"the data of {first[1]}",
                found=record.get("data", "other data"),
                hint="give runs on the same data",
            )


_FIXED: Final = ("head size", "updates", "batch size")  # in every suite that has a name


def _refuse_other_probes(records: Sequence[Found]) -> None:
    """Refuse rows of one task by other probes, where no suite says what these are."""
    known: dict[str, dict[str, str]] = {}
    seen: dict[tuple[str, str], tuple[str, Path]] = {}
    for _, place, record in records:
        probe = probe_of(place / RESULTS, record, known)
        for name in (one for one in _FIXED if one in probe):
            value, first = seen.setdefault((str(record["task"]), name), (probe[name], place))
            if value != probe[name]:
                raise DataError(
                    f"the scores of {record['task']!r} were measured by different probes",
                    where=place,
                    expected=f"{name} {value}, as in {first}",
                    found=f"{name} {probe[name]}",
                    hint="give runs with the same probes, or tell them apart with --suite",
                )


def _columns(suite: str, own: Sequence[Found], published: Sequence[LeaderboardRow]) -> list[Metric]:
    if published:
        return list(published[0].values)
    found = dict.fromkeys((str(r["task"]), str(r["metric"])) for _, _, r in own)
    order = SUITES[suite].tasks if suite in SUITES else ()
    return sorted(found, key=lambda c: order.index(c[0]) if c[0] in order else len(order))


def _score(suite: str, columns: Sequence[Metric], row: LeaderboardRow) -> float | None:
    scores: Scores = {}
    for task, metric in columns:
        mean = row.mean((task, metric))
        if mean is None:
            return None
        scores.setdefault(task, {})[metric] = mean, direction(metric)
    return any_score(scores, _reference(suite)) if scores else None


def _ranked(rows: Sequence[LeaderboardRow]) -> list[LeaderboardRow]:
    return sorted(rows, key=lambda row: (row.score is None, -(row.score or 0.0), row.name))


def _reference(suite: str) -> str | None:
    return SUITES[suite].reference if suite in SUITES else None


def _field(record: Mapping[str, Any], name: str, place: Path) -> Any:
    if name not in record:
        raise DataError(
            "a record of the results cannot be used",
            where=place,
            expected=name,
            found=", ".join(record),
            hint="evaluate again with this version",
        )
    return record[name]

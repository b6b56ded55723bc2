"""Learn from provenance which encoder is θ0, θ' or θ̂ of what, where no recipe says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechft.core.artifact import RECORD, product_hashes, read_object
from speechft.merging.alpha import number_text

About = dict[str, Any]


def infer_roles(
    records: Sequence[Mapping[str, Any]], evaluation: Mapping[str, Any] | None = None
) -> dict[str, About]:
    """Give each encoder's role, learnt from the `speechft.json` in or beside its folder.

    A merge belongs to the fine-tuning whose weights it was made of, told by content: a folder may
    hold another run by now. So does a merge of what others tuned, where that was evaluated, too.

    Args:
        records: of `results.jsonl`; `encoder` is the path or name that was evaluated, perhaps
            with `@ALPHA` behind it.
        evaluation: the record of the evaluation, which says what stands behind a name.

    Returns:
        name in the results → role, tuned_on, method, merge_method, alpha, name; and where several
        are compared base, the θ0, and tuning, the fine-tuning. An encoder that a finetuned one was
        made from is the pretrained one; what is not known is "other".
    """
    hashes = {str(r["encoder"]): str(r.get("encoder_hash", "")) for r in records if "encoder" in r}
    places = _places(evaluation or {})
    found = {label: _read(label, places.get(label), hashes[label]) for label in hashes}
    for one in found.values():
        _find_sources(one, found.values())
    _add_ends(found.values())
    _tell_bases_apart(found.values())
    _tell_tunings_apart(found.values())
    _tell_apart(found)
    return {label: one.about for label, one in found.items()}


def read_about(path: Path) -> About:
    """Read a JSON object, such as provenance; an empty one where there is none that makes sense."""
    value = read_object(path) or {}
    parts = {key: value[key] for key in ("settings", "parents") if key in value}
    return value if all(isinstance(part, dict) for part in parts.values()) else {}


def number(value: Any) -> float | None:
    """Give a number, or none for an alpha that differs between layers or is not known."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


@dataclass(frozen=True)
class _Place:
    """What stands behind a name in the results: a path, or a point between two; their ids."""

    path: str
    alpha: float | None = None
    id: str = ""


@dataclass(frozen=True)
class _Tuning:
    """A fine-tuning.

    Attributes:
        key: tells it from others.
        task: what was tuned on; empty for one that others made.
        method: how.
        base: fingerprint of θ0.
        base_id: identity of θ0.
        base_name: θ0 as it was named.
        weights: SHA-256 of the files of its encoders.
    """

    key: str
    task: str = ""
    method: str = ""
    base: str = ""
    base_id: str = ""
    base_name: str = ""
    weights: frozenset[str] = frozenset()


@dataclass
class _Lineage:
    """One encoder, and what it was made from.

    Attributes:
        label: its name in the results.
        hash: fingerprint of its tensors.
        id: its identity.
        about: what is given out.
        named: whether the label is a name that was given, not the path.
        tunings: the fine-tunings that it comes from; none for θ0, and where they are not known.
        merge: the record of a merge.
    """

    label: str
    hash: str
    id: str
    about: About
    named: bool = False
    tunings: list[_Tuning] = field(default_factory=list)
    merge: About = field(default_factory=dict)

    @property
    def base_names(self) -> tuple[str, str, str]:
        """Fingerprint, identity and name of θ0, as far as they are known."""
        if self.about["role"] == "pretrained":
            return self.hash, self.id, self.label
        if self.tunings:
            return self.tunings[0].base, self.tunings[0].base_id, self.tunings[0].base_name
        name = str(self.merge.get("settings", {}).get("base") or "")
        return "", _text(self.merge.get("depends", {}), "base"), name


def _text(values: Any, key: str) -> str:
    value = values.get(key) if isinstance(values, Mapping) else None
    return value if isinstance(value, str) else ""


def _places(evaluation: Mapping[str, Any]) -> dict[str, _Place]:
    """Give name → what was evaluated under it, with its identity where it is a stored encoder."""
    said = evaluation.get("settings", {}).get("encoders")
    depends = evaluation.get("depends")
    ids = depends.get("encoders") if isinstance(depends, Mapping) else None
    if not isinstance(said, list):
        return {}
    if not isinstance(ids, list) or len(ids) != len(said):
        ids = [{}] * len(said)
    places = {}
    for spec, own in zip(said, ids, strict=True):
        path = _text(spec, "path") or _text(spec, "tuned")
        alpha = number(spec.get("alpha")) if isinstance(spec, Mapping) else None
        place = _Place(path, alpha, _text(own, "path") if alpha is None else "")
        point = "" if alpha is None else f"@{number_text(alpha)}"
        places[_text(spec, "name") or f"{path}{point}"] = place
    return {name: place for name, place in places.items() if place.path}


def _read(label: str, place: _Place | None, fingerprint: str) -> _Lineage:
    """Read what lies beside one encoder."""
    if place is None:
        before, at, point = label.rpartition("@")
        alpha = number(point) if at else None
        place = _Place(label if alpha is None else before, alpha)
    path = Path(place.path)
    named = not label.startswith(place.path)
    name = {"name": label} if named else {}
    made = read_about(path / RECORD)
    settings = made.get("settings", {})
    if made.get("stage") == "merge":
        alpha = place.alpha if place.alpha is not None else made.get("alpha", settings.get("alpha"))
        about = {"role": "merged", "merge_method": settings.get("method", ""), "alpha": alpha}
        return _Lineage(label, fingerprint, place.id, about | name, named, merge=made)
    tuning = _tuning(path)
    if tuning is None:
        about = {"role": "other", "name": Path(label).name}
        return _Lineage(label, fingerprint, place.id, about | name, named)
    about = {"tuned_on": tuning.task, "method": tuning.method}
    if place.alpha is None:
        about |= {"role": "finetuned", "alpha": 1}
    else:
        about |= {"role": "merged", "merge_method": "linear", "alpha": place.alpha}
    return _Lineage(label, fingerprint, place.id, about | name, named, [tuning])


def _tuning(path: Path) -> _Tuning | None:
    """Read the fine-tuning that an encoder's folder, or its parent, comes from."""
    for folder in (path, path.parent):
        made = read_about(folder / RECORD)
        if made.get("stage") != "finetune":
            continue
        products = product_hashes(made)
        inside = [name for name in products if name.startswith(f"{path.name}/")]
        if folder != path and products and not inside:
            continue  # something else that was put there
        settings = made.get("settings", {})
        return _Tuning(
            key=str(folder.absolute()),
            task=str(settings.get("task", "")),
            method=str(settings.get("method", "")),
            base=_text(made.get("parents"), "encoder"),
            base_id=_text(made.get("depends"), "encoder"),
            base_name=_text(settings, "encoder"),
            weights=frozenset(
                written
                for name, written in products.items()
                if name.endswith(".safetensors") and "/model" in name
            ),
        )
    return None


def _find_sources(one: _Lineage, others: Iterable[_Lineage]) -> None:
    """Find the fine-tunings that a merge was made of; all of them, or none."""
    if not one.merge:
        return
    settings, parents = one.merge.get("settings", {}), one.merge.get("parents", {})
    known = list({t.key: t for other in others if not other.merge for t in other.tunings}.values())
    names = [str(name) for name in settings.get("tuned") or ()]
    if not names:  # the record does not say: the one that there is
        one.tunings = known if len(known) == 1 else []
    ids = one.merge.get("depends", {}).get("tuned")
    ids = ids if isinstance(ids, list) and len(ids) == len(names) else [""] * len(names)
    for name, own in zip(names, ids, strict=True):
        weights = _text(parents, name)
        there = _tuning(Path(name))
        same = [tuning for tuning in known if weights in tuning.weights]
        if there and (weights in there.weights or not (weights and there.weights)):
            same = [there]
        made_by_others = [
            _Tuning(
                key=other.label,
                base_id=_text(one.merge.get("depends"), "base"),
                base_name=_text(settings, "base"),
            )
            for other in others
            if other.about["role"] in ("other", "finetuned") and other.id and other.id == own
        ]
        found = [*same, *(made_by_others if not same else ())]
        if not found:
            one.tunings = []
            return
        one.tunings.append(found[0])
    tasks = [tuning.task for tuning in one.tunings if tuning.task]
    methods = {tuning.method for tuning in one.tunings}
    if tasks:
        one.about |= {"tuned_on": ",".join(dict.fromkeys(tasks))}
        one.about |= {"method": methods.pop() if len(methods) == 1 else ""}


def _add_ends(found: Iterable[_Lineage]) -> None:
    """Say which encoders are θ0, and which others' θ', of those whose records are known."""
    found = list(found)
    hashes = {t.base for one in found for t in one.tunings} - {""}
    ids = {t.base_id for one in found for t in one.tunings} - {""}
    ids |= {_text(one.merge.get("depends", {}), "base") for one in found} - {""}
    tuned = {t.key: t for one in found for t in one.tunings}
    for one in found:
        if one.about["role"] != "other":
            continue
        if one.hash in hashes or one.id in ids:
            one.about = {"role": "pretrained", "alpha": 0}
        elif one.label in tuned:
            one.about = {"role": "finetuned", "alpha": 1}
            one.tunings = [tuned[one.label]]
        if one.named:
            one.about["name"] = one.label


def _tell_bases_apart(found: Iterable[_Lineage]) -> None:
    """Name θ0 with all that came from it, where there are several."""
    known = [one for one in found if one.about["role"] != "other"]
    first: dict[str, str] = {}
    names = []
    for one in sorted(known, key=lambda one: one.about["role"] != "pretrained"):
        keys = [key for key in one.base_names if key]
        name = next((first[key] for key in keys if key in first), keys[-1] if keys else "")
        first |= dict.fromkeys(keys, name) | {k: first[k] for k in keys if k in first}
        names.append((one, name))
    if len({name for _, name in names}) > 1:
        for one, name in names:
            one.about |= {"base": name}


def _tell_tunings_apart(found: Iterable[_Lineage]) -> None:
    """Name the fine-tuning with all that came from it, where there are several of one kind."""
    of_kind: dict[tuple[Any, ...], dict[str, str]] = {}
    known = [one for one in found if one.tunings]
    for one in sorted(known, key=lambda one: bool(one.merge)):
        shown = one.label if not one.merge else "+".join(_names(one))
        of_kind.setdefault(_kind(one), {}).setdefault(_key(one), shown)
    for one in known:
        names = of_kind[_kind(one)]
        if len(names) > 1 or not one.about.get("tuned_on"):  # made by others
            one.about |= {"tuning": names[_key(one)]}


def _kind(one: _Lineage) -> tuple[Any, ...]:
    return tuple(one.about.get(key, "") for key in ("base", "tuned_on", "method"))


def _key(one: _Lineage) -> str:
    return "+".join(tuning.key for tuning in one.tunings)


def _names(one: _Lineage) -> list[str]:
    return [str(name) for name in one.merge.get("settings", {}).get("tuned") or ()]


def _tell_apart(found: Mapping[str, _Lineage]) -> None:
    """Name encoders that nothing else tells apart."""
    seen: dict[tuple[Any, ...], list[str]] = {}
    for label, one in found.items():
        seen.setdefault(tuple(sorted((k, str(v)) for k, v in one.about.items())), []).append(label)
    for labels in seen.values():
        for label in labels if len(labels) > 1 else ():
            found[label].about["name"] = label

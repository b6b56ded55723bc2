"""Learn from provenance which encoder is θ0, θ' or θ̂, where no recipe says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechft.core.artifact import RECORD, read_object

About = dict[str, Any]


def infer_roles(records: Sequence[Mapping[str, Any]]) -> dict[str, About]:
    """Give each encoder's role, learnt from the `speechft.json` in or beside its folder.

    Args:
        records: of `results.jsonl`; `encoder` is the path or name that was evaluated, perhaps
            with `@ALPHA` behind it.

    Returns:
        name in the results → role, tuned_on, method, merge_method, alpha, name. An encoder that
        a finetuned one was made from is the pretrained one; what is not known is "other".
    """
    hashes = {str(r["encoder"]): str(r.get("encoder_hash", "")) for r in records if "encoder" in r}
    found: dict[str, About] = {}
    parents: set[str] = set()
    for label in hashes:
        about, parent = _about(label)
        if about:
            found[label] = about
        parents |= parent
    for label, fingerprint in hashes.items():
        if label not in found:
            known = bool(fingerprint) and fingerprint in parents
            name = Path(label).name
            found[label] = (
                {"role": "pretrained", "alpha": 0} if known else {"role": "other", "name": name}
            )
    _complete(found)
    _tell_apart(found)
    return {label: found[label] for label in hashes}


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


def _about(label: str) -> tuple[About, set[str]]:
    """Give what is known of one encoder, and the fingerprint of what it was fine-tuned from."""
    place, at, point = label.rpartition("@")
    alpha = number(point) if at else None
    path = Path(label if alpha is None else place)
    made = read_about(path / RECORD)
    settings = made.get("settings", {})
    if made.get("stage") == "merge":
        tuned = settings.get("tuned") or [""]
        source, parents = _finetuning(Path(str(tuned[0])) if len(tuned) == 1 else Path())
        known = made.get("alpha", settings.get("alpha"))
        about = {"alpha": known if alpha is None else alpha}
        return {
            **source,
            **about,
            "role": "merged",
            "merge_method": settings.get("method", ""),
        }, parents
    source, parents = _finetuning(path)
    if not source:
        return {}, set()
    if alpha is None:
        return {**source, "role": "finetuned", "alpha": 1}, parents
    return {**source, "role": "merged", "merge_method": "linear", "alpha": alpha}, parents


def _finetuning(path: Path) -> tuple[About, set[str]]:
    """Read the fine-tuning that an encoder's folder, or its parent, comes from."""
    for folder in (path, path.parent):
        made = read_about(folder / RECORD)
        if made.get("stage") == "finetune":
            settings = made.get("settings", {})
            about = {"tuned_on": settings.get("task", ""), "method": settings.get("method", "")}
            return about, {str(made.get("parents", {}).get("encoder", ""))}
    return {}, set()


def _complete(found: Mapping[str, About]) -> None:
    """Where one encoder was fine-tuned, the merged ones are taken to be made from it."""
    tuned = [about for about in found.values() if about["role"] == "finetuned"]
    if len(tuned) == 1:
        for about in found.values():
            if about["role"] == "merged" and "tuned_on" not in about:
                about |= {key: tuned[0][key] for key in ("tuned_on", "method")}


def _tell_apart(found: Mapping[str, About]) -> None:
    """Name encoders that nothing else tells apart."""
    seen: dict[tuple[Any, ...], list[str]] = {}
    for label, about in found.items():
        seen.setdefault(tuple(sorted((k, str(v)) for k, v in about.items())), []).append(label)
    for labels in seen.values():
        for label in labels if len(labels) > 1 else ():
            found[label]["name"] = label

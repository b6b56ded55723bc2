"""What a merged encoder's folder holds besides its weights: configuration, card, provenance."""

from __future__ import annotations

import dataclasses
import errno
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import yaml

from speechft.core.artifact import stage_of
from speechft.core.errors import SpeechFTError
from speechft.core.files import write_json, write_text
from speechft.core.heard import write_heard
from speechft.core.logging import get_logger
from speechft.core.paths import first_of, home_expanded, said_place
from speechft.encoders.identity import CONTEXT, EXTRAS_FILE, HEADS, carry, heard_of
from speechft.merging.alpha import Chosen, said_of, write_choice
from speechft.merging.engine import Plan
from speechft.merging.sources import CheckpointSource, Source, preprocessor_of
from speechft.merging.tensor_matching import common_context, warn_of_normalisation
from speechft.merging.tensorfile import BY_USER_NAME, USER_NAMES

log = get_logger(__name__)

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
SCORES = "## Scores"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
#: Formats of files that a merged encoder is written in too, and the writer's name for them.
_OWN_FORMAT = {"s3prl": "s3prl", "fairseq": "fairseq", "wavlm": "s3prl", "decoar2": "s3prl"}


@contextmanager
def said_where(out: Path, nbytes: int) -> Iterator[None]:
    """Turn a full disk, and a place where nothing can be written, into messages.

    Args:
        out: the folder that is written.
        nbytes: size of the result.
    """
    try:
        with said_place(out, "choose another --out", (errno.EFBIG,)):
            yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SpeechFTError(
            "the disk is full; nothing was left under the final name",
            where=out,
            expected=f"{nbytes / 1e6:.1f} MB free",
            hint="free some space, or choose another place with --out",
        ) from None


def describe(planned: Plan, folder: Path, chosen: Chosen | None = None) -> dict[str, Any]:
    """Write everything but the weights and the record.

    Args:
        planned: the merge.
        folder: where the weights have been written.
        chosen: how data chose alpha.

    Returns:
        What the record says of the merge.
    """
    class_name = _write_config(planned, folder)
    _write_preprocessor(planned, folder)
    _write_extras(planned, folder)
    left_behind = _carry(planned.like, folder)
    heads = carry_heads(planned, folder)
    sources = (planned.base, *planned.tuned)
    heard = reduce(or_, (heard_of(source.label) for source in sources))
    write_heard(folder, heard if chosen is None else heard.chosen_on(chosen.dev))
    said = {} if chosen is None else {"chosen": {**chosen}}
    card = with_heads(write_card(planned, class_name, chosen), heads)
    write_text(folder / "README.md", card)
    if chosen is not None:
        write_choice(folder, chosen)
    return said | {
        "method": planned.method.name,
        "alpha": str(planned.alpha),
        "formula": formula(planned),
        "dtype": planned.dtype,
        "kept": list(planned.match.kept),
        "dropped": list(planned.match.dropped),
        "heads": [*planned.match.heads, *heads],
        "left_behind": left_behind,
    }


def _carry(base: Source, folder: Path) -> list[str]:
    """Copy what else belongs to BASE; give the names of the files that stay behind."""
    if base.folder is None or home_expanded(base.label).is_file():
        return []
    left = carry(base.folder, folder)
    if left:
        log.info("merge: left behind of BASE's folder: %s", first_of(left, 8))
    return left


def head_files(source: Source) -> list[Path]:
    """Give the files of heads that this package kept beside an encoder.

    Earlier runs have that of `encoder/`, and what it means, in the run's folder.
    """
    folder = source.folder
    if folder is None or home_expanded(source.label).is_file():
        return []
    own = [path for path in sorted(folder.iterdir()) if HEADS.fullmatch(path.name)]
    if own or folder.name != "encoder" or stage_of(folder.parent) != "finetune":
        return own
    run = sorted(folder.parent.iterdir())
    return [p for p in run if HEADS.fullmatch(p.name) or re.fullmatch(r"task.*\.json", p.name)]


def carry_heads(planned: Plan, folder: Path) -> list[str]:
    """Copy the files of the heads that the result keeps; give their names."""
    keeper = {"base": planned.base, "tuned": planned.tuned[0]}.get(planned.recipe.heads)
    files = [] if keeper is None else head_files(keeper)
    for path in files:
        shutil.copyfile(path, folder / path.name)
    return [path.name for path in files]


def _write_config(planned: Plan, folder: Path) -> str:
    """Write BASE's configuration; without its head the class is the bare encoder's."""
    every = (planned.like, planned.base, *planned.tuned)
    found = [source.config for source in every if source.config]
    if not found:
        log.warning("neither BASE nor TUNED has a config.json; none is written")
        return "the class that fits its config.json"
    if planned.base.config is None:
        log.warning("BASE has no config.json; TUNED's is used")
    config = dict(found[0])
    classes = config.get("architectures") or []
    if planned.recipe.heads != "base" and not planned.match.heads:
        classes = [re.sub(r"For[A-Z]\w*$", "Model", name) for name in classes]
        if classes:
            config["architectures"] = classes
    if planned.recipe.dtype is not None:
        config.pop("torch_dtype", None)
        config["dtype"] = USER_NAMES[BY_USER_NAME[planned.recipe.dtype]]
    write_json(folder / CONFIG, config)
    return str(classes[0]) if classes else "the class in config.json"


def _write_preprocessor(planned: Plan, folder: Path) -> None:
    """Write how waveforms are prepared (rate, normalisation): BASE's, else TUNED's."""
    every = [preprocessor_of(one) for one in (planned.like, planned.base, *planned.tuned)]
    found = [settings for settings in every if settings is not None]
    if not found:
        log.warning("no %s in BASE or TUNED; none is written", PREPROCESSOR)
        return
    context = common_context(planned.base, planned.tuned)
    said = {} if context is None else {CONTEXT: context}
    write_json(folder / PREPROCESSOR, {**found[0], **said})
    kept = "TUNED" if planned.match.heads else "BASE"
    warn_of_normalisation(planned.base, planned.tuned, kept)


def _write_extras(planned: Plan, folder: Path) -> None:
    """Keep what leads back to BASE's first format; write that format too where it is a file's."""
    base = planned.base
    if base.folder is not None and (base.folder / EXTRAS_FILE).is_file():
        shutil.copyfile(base.folder / EXTRAS_FILE, folder / EXTRAS_FILE)
    if not isinstance(base, CheckpointSource) or planned.match.heads:
        return
    own = _OWN_FORMAT.get(base.checkpoint.format)
    if own is None:
        return
    from safetensors.torch import load_file

    from speechft.encoders.formats.write import write_checkpoint

    tensors: dict[str, Any] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        tensors |= load_file(file)
    merged = dataclasses.replace(base.checkpoint, tensors=tensors)
    write_checkpoint(merged, folder / Path(base.label).with_suffix(".pt").name, own)


def public_name(label: str, config: Mapping[str, Any] | None = None) -> str:
    """Give a name without local folders: a Hub id if one is known, else the last part of a path."""
    known = str((config or {}).get("_name_or_path") or "")
    local = home_expanded(label)
    for candidate in (label.partition("@")[0] if not local.exists() else "", known):
        if _HUB_ID.fullmatch(candidate) and not Path(candidate).exists():
            return candidate
    if local.name == "encoder" and local.parent.name:
        return local.parent.name
    return local.name or local.resolve().name


def formula(plan: Plan) -> str:
    """Give the method's formula with its numbers."""
    values = {"alpha": str(plan.alpha)} if "alpha" in plan.method.parameters else {}
    own = {key: one.default for key, one in plan.method.parameters.items() if key != "alpha"}
    own |= plan.recipe.parameters
    values |= {key: str(value) for key, value in own.items() if value is not None}
    numbers = ", ".join(f"{key} = {value}" for key, value in values.items())
    rounds = "; one round per tuned encoder, in this order" if plan.recipe.sequential else ""
    return plan.method.formula + (f"   with {numbers}" if numbers else "") + rounds


def write_card(plan: Plan, class_name: str, chosen: Chosen | None = None) -> str:
    """Give README.md of a merged encoder, with the metadata that the Hub reads.

    Args:
        plan: the merge.
        class_name: the transformers class that loads it.
        chosen: how data chose alpha.
    """
    sources = (plan.base, *plan.tuned)
    names = [public_name(source.label, source.config) for source in sources]
    roles = ["θ0 (BASE)", *(f"θ'{i + 1} (TUNED)" for i in range(len(plan.tuned)))]
    rows = [
        f"| {role} | {name} | `{source.sha256()}` |"
        for role, name, source in zip(roles, names, sources, strict=True)
    ]
    merged = sum(bool(entry.tuned) for entry in plan.match.entries)
    lines = [
        f"# {names[0]} merged with {', '.join(names[1:])}",
        f"A speech encoder made by `speechft merge`: {plan.method.title} ({plan.method.paper}).",
        f"    {formula(plan)}",
        "| | encoder | SHA-256 of the weights |\n| --- | --- | --- |\n" + "\n".join(rows),
        f"{merged} tensors were merged in float32 and rounded once, to {plan.dtype}; {_rest(plan)}",
        *_said_of_context(common_context(plan.base, plan.tuned)),
        *(said_of(chosen) if chosen else []),
    ]
    return _card(names[:1], "merge", ["merge"], lines, class_name)


def plain_card(name: str, record: Mapping[str, Any], class_name: str) -> str:
    """Give README.md of an encoder that no merge made.

    Args:
        name: of the encoder.
        record: provenance of the run that made it; empty if none is known.
        class_name: the transformers class that loads it.
    """
    given = record.get("settings")
    settings = given if isinstance(given, Mapping) else {}
    start = settings.get("encoder") or settings.get("init")
    base = public_name(start) if isinstance(start, str) else ""
    said = {key: settings.get(key) for key in ("task", "data", "method", "steps", "learning_rate")}
    rows = {"began with": base, **{key.replace("_", " "): value for key, value in said.items()}}
    rows = {key: public_name(str(value)) for key, value in rows.items() if value}
    how = f", made by `speechft {record['stage']}`" if record.get("stage") else ""
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    lines = [f"# {name}", f"A speech encoder{how}.", *_said_of_context(settings.get("context"))]
    lines += [f"| | |\n| --- | --- |\n{table}"] if rows else []
    return _card([base] if _HUB_ID.fullmatch(base) else [], "finetune", [], lines, class_name)


def _card(
    bases: list[str], relation: str, tags: list[str], lines: Sequence[str], class_name: str
) -> str:
    """Give a card: what the Hub reads, the lines, and how the encoder is loaded."""
    alone = class_name == "WhisperEncoder"  # AutoModel would look for a decoder
    module = ".models.whisper.modeling_whisper" if alone else ""
    loader = class_name if alone else "AutoModel"
    meta: dict[str, Any] = {"library_name": "transformers"}
    if bases:
        meta |= {"base_model": bases, "base_model_relation": relation}
    meta["tags"] = [*tags, "speechft", "speech", "feature-extraction"]
    parts = [
        f"---\n{yaml.safe_dump(meta, sort_keys=False, allow_unicode=True)}---",
        *lines,
        "## How to load it",
        f"```python\nimport torch\nfrom transformers{module} import {loader}\n\n"
        f'model = {loader}.from_pretrained("PATH", dtype=torch.float32)'
        f"  # {class_name}\n```",
        "```python\nimport speechft\n\n"
        'encoder = speechft.load_encoder("PATH")\n'
        "hidden_states, lengths = encoder([waveform])  # 1-D, 16 kHz, float32\n```",
    ]
    return "\n\n".join(parts) + "\n"


def with_heads(card: str, names: Iterable[str]) -> str:
    """Say in a card which of the files beside the weights are heads, and what runs them."""
    heads = [f"`{name}`" for name in names if HEADS.fullmatch(name)]
    if not heads:
        return card
    return (
        f"{card}\n## What it says of recordings\n\nBeside the weights lies what `speechft predict` "
        f"hears with: {', '.join(heads)}.\n\n```sh\nspeechft predict PATH recordings/\n```\n"
    )


def with_scores(card: str, scores: Mapping[str, Mapping[str, float]]) -> str:
    """Put a table of scores at the end of a card, in the place of an earlier one.

    Args:
        card: README.md.
        scores: task → metric → value.
    """
    before = card.partition(f"\n{SCORES}\n")[0].rstrip("\n")
    return f"{before}\n\n{SCORES}\n\n{_score_table(scores)}\n" if scores else card


def _said_of_context(context: str | None) -> list[str]:
    """Say in a card that an encoder's states are not those that transformers would give."""
    if context != "utterance":
        return []
    return [
        "It was tuned with the context `utterance`: positions end with the utterance and padding "
        "is masked, where Whisper itself sees 30 s. `speechft.load_encoder` does the same."
    ]


def _rest(plan: Plan) -> str:
    parts = []
    if plan.match.kept:
        parts.append(f"kept from BASE: {_some(plan.match.kept)}")
    if plan.match.dropped:
        parts.append(f"heads of BASE that were dropped: {_some(plan.match.dropped)}")
    if plan.match.heads:
        parts.append(f"kept from TUNED: {_some(plan.match.heads)}")
    unused = sorted({name for names in plan.match.ignored for name in names})
    if unused:
        parts.append(f"not used of TUNED: {_some(unused)}")
    return "; ".join(parts) + "." if parts else "nothing was dropped."


def _some(names: Sequence[str], most: int = 6) -> str:
    text = ", ".join(f"`{name}`" for name in names[:most])
    return text + (f" and {len(names) - most} more" if len(names) > most else "")


def _score_table(scores: Mapping[str, Mapping[str, float]]) -> str:
    rows = [
        f"| {task} | {metric} | {value:.2f} |"
        for task, metrics in scores.items()
        for metric, value in metrics.items()
    ]
    return "| task | metric | value |\n| --- | --- | --- |\n" + "\n".join(rows)

"""What a merged encoder's folder holds besides its weights: configuration, card, provenance."""

from __future__ import annotations

import dataclasses
import errno
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from speechft.core.errors import SpeechFTError
from speechft.core.files import write_json, write_text
from speechft.core.logging import get_logger
from speechft.core.places import first_of, said_place
from speechft.encoders.identity import stored_preprocessor
from speechft.merging.alpha import number_text
from speechft.merging.card import formula, public_name, write_card
from speechft.merging.dtypes import BY_USER_NAME, USER_NAMES
from speechft.merging.inputs import CheckpointSource
from speechft.merging.planning import Plan
from speechft.merging.sources import Source
from speechft.merging.sweep import FILE_NAME, Parent, Sweep

log = get_logger(__name__)

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
EXTRAS = "extras.safetensors"
#: Formats of files that a merged encoder is written in too, and the writer's name for them.
_OWN_FORMAT = {"s3prl": "s3prl", "fairseq": "fairseq", "wavlm": "s3prl", "decoar2": "s3prl"}

#: Files of an encoder's folder that the merge writes anew, or that say how BASE was made.
_MADE_HERE = re.compile(
    r"config\.json|preprocessor_config\.json|extras\.safetensors|speechft\.json|begun\.json"
    r"|README\.md|model(-\d+-of-\d+)?\.safetensors(\.index\.json)?"
)
#: Files that go with the result as they are: how text is made, adapters, the license.
_BELONGS = re.compile(
    r"(generation_config|processor_config|tokenizer|tokenizer_config|special_tokens_map"
    r"|added_tokens|vocab|normalizer)\.json|vocab\.txt|merges\.txt|.*\.model|chat_template\..*"
    r"|adapter\.[\w-]+\.safetensors|LICENSE.*"
)


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


def describe(planned: Plan, folder: Path) -> dict[str, Any]:
    """Write everything but the weights and the record.

    Args:
        planned: the merge.
        folder: where the weights have been written.

    Returns:
        What the record says of the merge.
    """
    class_name = _write_config(planned, folder)
    _write_preprocessor(planned, folder)
    _write_extras(planned, folder)
    left_behind = _carry(planned.base, folder)
    write_text(folder / "README.md", write_card(planned, class_name))
    return {
        "method": planned.method.name,
        "alpha": str(planned.alpha),
        "formula": formula(planned),
        "dtype": planned.dtype,
        "kept": list(planned.match.kept),
        "dropped": list(planned.match.dropped),
        "left_behind": left_behind,
    }


def _carry(base: Source, folder: Path) -> list[str]:
    """Copy what else belongs to BASE; give the names of the files that stay behind."""
    if base.folder is None or Path(base.label).expanduser().is_file():
        return []
    others = [
        path
        for path in sorted(base.folder.iterdir())
        if not path.name.startswith(".") and path.is_file() and not _MADE_HERE.fullmatch(path.name)
    ]
    carried = [path for path in others if _BELONGS.fullmatch(path.name)]
    for path in carried:
        shutil.copyfile(path, folder / path.name)
    left = [path.name for path in others if path not in carried]
    if left:
        log.info("merge: left behind of BASE's folder: %s", first_of(left, 8))
    return left


def _write_config(planned: Plan, folder: Path) -> str:
    """Write BASE's configuration; without its head the class is the bare encoder's."""
    found = [source.config for source in (planned.base, *planned.tuned) if source.config]
    if not found:
        log.warning("neither BASE nor TUNED has a config.json; none is written")
        return "the class that fits its config.json"
    if planned.base.config is None:
        log.warning("BASE has no config.json; TUNED's is used")
    config = dict(found[0])
    classes = config.get("architectures") or []
    if planned.recipe.heads == "drop":
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
    every = [preprocessor_of(source) for source in (planned.base, *planned.tuned)]
    found = [settings for settings in every if settings is not None]
    if not found:
        log.warning("no %s in BASE or TUNED; none is written", PREPROCESSOR)
        return
    write_json(folder / PREPROCESSOR, found[0])
    if len({settings.get("do_normalize") for settings in found}) > 1:
        log.warning("BASE and TUNED normalise waveforms differently; BASE's setting is kept")


def preprocessor_of(source: Source) -> dict[str, Any] | None:
    """Give the preprocessor's settings that an encoder has, in whichever file they stand."""
    if isinstance(source, CheckpointSource):
        return dict(source.checkpoint.preprocessor)
    return None if source.folder is None else stored_preprocessor(source.folder)[0] or None


def _write_extras(planned: Plan, folder: Path) -> None:
    """Keep what leads back to BASE's first format; write that format too where it is a file's."""
    base = planned.base
    if base.folder is not None and (base.folder / EXTRAS).is_file():
        shutil.copyfile(base.folder / EXTRAS, folder / EXTRAS)
    if not isinstance(base, CheckpointSource):
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


def write_sweep(
    planned: Plan,
    alphas: Sequence[float],
    fixed: Sequence[str],
    options: Mapping[str, Any],
    folder: Path,
) -> dict[str, Any]:
    """Write a sweep: no weights, only where they come from.

    Args:
        planned: the merge at any point (all points fit if one does).
        alphas: the points.
        fixed: patterns of alpha that hold at all points.
        options: the other fields of the recipe.
        folder: where it is written.

    Returns:
        What the record says of the sweep.
    """
    parents = [Parent(_stable_path(source.label), source.sha256()) for source in planned.sources]
    count = 1 + len(planned.tuned)
    tuned, statistics = tuple(parents[1:count]), tuple(parents[count:])
    sweep = Sweep(parents[0], tuned, tuple(alphas), tuple(fixed), options, statistics)
    names = [public_name(source.label, source.config) for source in planned.sources[:count]]
    points = ", ".join(map(number_text, alphas))
    card = (
        "---\nlibrary_name: speechft\ntags:\n- merge\n- speechft\n---\n\n"
        f"# Sweep of {len(alphas)} encoders between {names[0]} and {', '.join(names[1:])}\n\n"
        f"{planned.method.title} at alpha = {points}:\n\n    {planned.method.formula}\n\n"
        f"This folder holds no weights: `{FILE_NAME}` says what each encoder is made of. They are "
        "made in memory when they are evaluated; `speechft merge` with one alpha writes one.\n"
    )
    write_json(folder / FILE_NAME, sweep.to_json())
    write_text(folder / "README.md", card)
    return {"method": planned.method.name, "alphas": list(alphas)}


def _stable_path(label: str) -> str:
    path = Path(label).expanduser()
    return str(path.resolve()) if path.exists() else label

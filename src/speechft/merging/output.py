"""What a merged encoder's folder holds besides its weights: configuration, card, provenance."""

from __future__ import annotations

import dataclasses
import errno
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from speechft.core.errors import SpeechFTError
from speechft.core.files import atomic_dir, write_json, write_text
from speechft.core.logging import get_logger
from speechft.core.places import said_place
from speechft.core.provenance import write_provenance
from speechft.encoders.configs import stored_preprocessor
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


def describe(planned: Plan, hashes: Sequence[str], folder: Path, plain: Mapping[str, Any]) -> None:
    """Write everything but the weights.

    Args:
        planned: the merge.
        hashes: SHA-256 of the weights of BASE, every TUNED and every statistics file.
        folder: where the weights have been written.
        plain: the stage's settings.
    """
    class_name = _write_config(planned, folder)
    _write_preprocessor(planned, folder)
    _write_extras(planned, folder)
    write_text(folder / "README.md", write_card(planned, hashes, class_name))
    write_provenance(
        folder,
        stage="merge",
        settings=plain,
        parents=parents_record([planned.base, *planned.tuned, *planned.statistics], hashes),
        method=planned.method.name,
        alpha=str(planned.alpha),
        formula=formula(planned),
        kept=list(planned.match.kept),
        dropped=list(planned.match.dropped),
    )


def parents_record(sources: Sequence[Source], hashes: Sequence[str]) -> dict[str, str]:
    """Give name → hash; a parent that is named twice gets a prime."""
    result: dict[str, str] = {}
    for source, digest in zip(sources, hashes, strict=True):
        name = source.label
        while name in result:
            name += "'"
        result[name] = digest
    return result


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

    from speechft.encoders.formats import write_checkpoint

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
    out: Path,
    plain: Mapping[str, Any],
) -> None:
    """Write a sweep: no weights, only where they come from.

    Args:
        planned: the merge at any point (all points fit if one does).
        alphas: the points.
        fixed: patterns of alpha that hold at all points.
        options: the other fields of the recipe.
        out: the folder.
        plain: the stage's settings.
    """
    sources = [planned.base, *planned.tuned, *planned.statistics]
    with ThreadPoolExecutor(len(sources)) as pool:
        hashes = list(pool.map(lambda source: source.sha256(), sources))
    parents = [
        Parent(_stable_path(source.label), digest)
        for source, digest in zip(sources, hashes, strict=True)
    ]
    count = 1 + len(planned.tuned)
    tuned, statistics = tuple(parents[1:count]), tuple(parents[count:])
    sweep = Sweep(parents[0], tuned, tuple(alphas), tuple(fixed), options, statistics)
    names = [public_name(source.label, source.config) for source in sources[:count]]
    points = ", ".join(number_text(alpha) for alpha in alphas)
    card = (
        "---\nlibrary_name: speechft\ntags:\n- merge\n- speechft\n---\n\n"
        f"# Sweep of {len(alphas)} encoders between {names[0]} and {', '.join(names[1:])}\n\n"
        f"{planned.method.title} at alpha = {points}:\n\n    {planned.method.formula}\n\n"
        f"This folder holds no weights: `{FILE_NAME}` says what each encoder is made of. They are "
        "made in memory when they are evaluated; `speechft merge` with one alpha writes one.\n"
    )
    with atomic_dir(out) as folder:
        write_json(folder / FILE_NAME, sweep.to_json())
        write_text(folder / "README.md", card)
        write_provenance(
            folder,
            stage="merge",
            settings=plain,
            parents=parents_record(sources, hashes),
            method=planned.method.name,
            alphas=list(alphas),
        )


def _stable_path(label: str) -> str:
    path = Path(label).expanduser()
    return str(path.resolve()) if path.exists() else label

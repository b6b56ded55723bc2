"""`speechft merge`: stage 2 of Speech-FT, and every other way to merge encoders in weight space."""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from speechft.core.errors import SettingsError, SpeechFTError
from speechft.core.files import atomic_dir, read_json, write_json, write_text
from speechft.core.logging import get_logger
from speechft.core.provenance import FILE_NAME, is_done, write_provenance
from speechft.core.settings import Settings
from speechft.merging.alpha import parse_alpha
from speechft.merging.card import formula, write_card
from speechft.merging.engine import Plan, Recipe, plan
from speechft.merging.methods import METHODS
from speechft.merging.sources import Source
from speechft.merging.writing import default_threads, write_weights
from speechft.stages.merge_inputs import find, open_encoder
from speechft.stages.merge_progress import Meter

log = get_logger(__name__)

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"


class MergeSettings(Settings):
    """Settings of `speechft merge`.

    Args:
        base: ENCODER, θ0; its format, configuration and types are kept.
        tuned: one or more ENCODERs, θ'_i.
        out: the merged encoder's folder.
        method: name of the merge method.
        alpha: a number; `0.1..0.5` from the first to the last layer; `PATTERN=VALUE` for groups of
            tensors; several of these in a list; none for the method's default.
        parameters: further parameters of the method.
        sequential: merge the tuned encoders one after the other.
        weight_norm: `stored` interpolates g and v of weight-normalised kernels by themselves,
            `fused` the effective kernel.
        heads: `drop` BASE's heads and pre-training projections, or `keep` them unmerged.
        dtype: type of the result; BASE's if none.
        max_shard_size: split larger weights into files of at most this size ("5GB").
        statistics: safetensors files with the data that RegMean and Fisher need, one per TUNED.
        threads: the result does not depend on it.
        seed: of random masks.
    """

    base: str | Path
    tuned: tuple[str | Path, ...] = Field(min_length=1)
    out: Path
    method: str = "linear"
    alpha: float | str | tuple[float | str, ...] | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    sequential: bool = False
    weight_norm: Literal["stored", "fused"] = "stored"
    heads: Literal["drop", "keep"] = "drop"
    dtype: str | None = None
    max_shard_size: str | None = None
    statistics: tuple[str | Path, ...] = ()
    threads: int | None = Field(default=None, ge=1)
    seed: int = 0

    def recipe(self) -> Recipe:
        """Give what the merging package needs."""
        return Recipe(
            method=self.method,
            alpha=parse_alpha(texts, METHODS[self.method].default_alpha)
            if (texts := self.alpha_texts())
            else None,
            parameters=self.parameters,
            sequential=self.sequential,
            weight_norm=self.weight_norm,
            heads=self.heads,
            dtype=self.dtype,
            seed=self.seed,
        )

    def alpha_texts(self) -> list[str]:
        """Give alpha as a list of texts, none if it was not given."""
        given = self.alpha if isinstance(self.alpha, tuple) else (self.alpha,)
        return [
            value if isinstance(value, str) else repr(value) for value in given if value is not None
        ]

    def plain(self) -> dict[str, Any]:
        """Give the settings that shape the result, as plain values."""
        return self.model_dump(mode="json", exclude={"out", "threads"})


def merge(settings: MergeSettings) -> Path:
    """Merge a base encoder with one or more tuned ones into a folder that loads where BASE does.

    Returns:
        The folder: `model.safetensors`, `config.json`, `preprocessor_config.json`, `README.md`,
        `speechft.json`.

    Raises:
        SettingsError: method, parameters, alpha or the output folder are wrong.
        IncompatibleModelsError: the encoders do not have the same tensors.
        CheckpointError: an encoder cannot be read.
    """
    check_output(settings)
    sources = [open_encoder(name) for name in (settings.base, *settings.tuned)]
    statistics = [open_encoder(name) for name in settings.statistics]
    try:
        planned = plan(sources[0], sources[1:], settings.recipe(), statistics)
        return _write(settings, planned)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SpeechFTError(
            "the disk is full; nothing was left under the final name",
            where=settings.out,
            expected=f"{planned.nbytes / 1e6:.0f} MB free",
            hint="free some space, or choose another place with --out",
        ) from None
    finally:
        for source in (*sources, *statistics):
            source.close()


def check_output(settings: MergeSettings) -> None:
    """Refuse to replace a parent or a folder that was not made by this stage."""
    out = settings.out.expanduser()
    parents = [Path(str(p)).expanduser() for p in (settings.base, *settings.tuned)]
    if any(p.exists() and (find(p).resolve().is_relative_to(out.resolve())) for p in parents):
        raise SettingsError("--out would replace one of the encoders to merge", where=out)
    if not out.exists():
        return
    if out.is_dir() and (not any(out.iterdir()) or _stage_of(out) == "merge"):
        return
    raise SettingsError(
        "there is something else in the output's place",
        where=out,
        expected="no folder, an empty one, or an earlier merge",
        hint="choose another --out, or remove it",
    )


def _write(settings: MergeSettings, planned: Plan) -> Path:
    out = settings.out.expanduser()
    threads = settings.threads or default_threads()
    with ThreadPoolExecutor(threads) as pool:
        parents = [planned.base, *planned.tuned, *planned.statistics]
        hashing = [pool.submit(source.sha256) for source in parents]
        if is_done(out, stage="merge", settings=settings.plain()):
            hashes = [future.result() for future in hashing]
            if list(read_json(out / FILE_NAME)["parents"].values()) == hashes:
                log.info("merge: already done in %s", out)
                return out
        with atomic_dir(out) as folder, Meter("merging", planned.nbytes) as meter:
            write_weights(
                planned,
                folder,
                pool,
                max_shard_bytes=parse_size(settings.max_shard_size),
                on_progress=meter.add,
            )
            hashes = [future.result() for future in hashing]
            _describe(settings, planned, hashes, folder)
    log.info("merge: %d tensors in %s (%s)", len(planned.outputs), out, meter.summary())
    return out


def _describe(settings: MergeSettings, planned: Plan, hashes: Sequence[str], folder: Path) -> None:
    """Write everything but the weights."""
    class_name = _write_config(planned, folder)
    _copy_preprocessor(planned, folder)
    sources = [planned.base, *planned.tuned, *planned.statistics]
    write_text(folder / "README.md", write_card(planned, hashes, class_name))
    write_provenance(
        folder,
        stage="merge",
        settings=settings.plain(),
        parents=_parents(sources, hashes),
        method=planned.method.name,
        alpha=str(planned.alpha),
        formula=formula(planned),
        kept=list(planned.match.kept),
        dropped=list(planned.match.dropped),
    )


def _parents(sources: Sequence[Source], hashes: Sequence[str]) -> dict[str, str]:
    result: dict[str, str] = {}
    for source, digest in zip(sources, hashes, strict=True):
        name = source.label
        while name in result:
            name += "'"
        result[name] = digest
    return result


def _write_config(planned: Plan, folder: Path) -> str:
    """Write BASE's configuration; without its head the class is the bare encoder's."""
    config = planned.base.config
    if config is None:
        others = [source.config for source in planned.tuned if source.config]
        log.warning(
            "BASE has no config.json; %s", "TUNED's is used" if others else "none is written"
        )
        if not others:
            return "unknown class"
        config = others[0]
    config = dict(config)
    classes = config.get("architectures") or []
    if planned.recipe.heads == "drop":
        classes = [re.sub(r"For[A-Z]\w*$", "Model", name) for name in classes]
        if classes:
            config["architectures"] = classes
    if planned.recipe.dtype is not None:
        names = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
        config.pop("torch_dtype", None)
        config["dtype"] = names.get(planned.recipe.dtype, planned.recipe.dtype)
    write_json(folder / CONFIG, config)
    return str(classes[0]) if classes else "the class in config.json"


def _copy_preprocessor(planned: Plan, folder: Path) -> None:
    """Copy how waveforms are prepared (rate, normalisation): BASE's, or TUNED's if it has none."""
    found = [
        source.folder / PREPROCESSOR
        for source in (planned.base, *planned.tuned)
        if source.folder is not None and (source.folder / PREPROCESSOR).is_file()
    ]
    if not found:
        log.warning("no %s in BASE or TUNED; none is written", PREPROCESSOR)
        return
    shutil.copyfile(found[0], folder / PREPROCESSOR)
    flags = {json.loads(path.read_text("utf-8")).get("do_normalize") for path in found}
    if len(flags) > 1:
        log.warning("BASE and TUNED normalise waveforms differently; BASE's setting is kept")


def _stage_of(folder: Path) -> str | None:
    try:
        return str(read_json(folder / FILE_NAME).get("stage"))
    except (OSError, ValueError, AttributeError):
        return None


def parse_size(text: str | None) -> int | None:
    """Read "5GB", "500 MB" or a number of bytes.

    Raises:
        SettingsError: it is none of these.
    """
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]?)i?B?\s*", text, re.IGNORECASE)
    if not found or float(found.group(1)) <= 0:
        raise SettingsError(
            "cannot read the size", where="max_shard_size", expected="5GB", found=text
        )
    return int(float(found.group(1)) * 1000 ** " KMG".index(found.group(2).upper() or " "))

"""`speechft merge`: stage 2 of Speech-FT, and every other way to merge encoders in weight space."""

from __future__ import annotations

import dataclasses
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from speechft.core.errors import SettingsError
from speechft.core.files import atomic_dir, flush, read_json
from speechft.core.logging import get_logger
from speechft.core.provenance import FILE_NAME, is_done, stage_of
from speechft.core.yaml12 import read_yaml
from speechft.merging.alpha import check_range, parse_alpha
from speechft.merging.dtypes import USER_NAMES
from speechft.merging.inputs import find, open_encoder
from speechft.merging.mergekit import from_mergekit
from speechft.merging.methods import METHODS
from speechft.merging.output import describe, said_where, write_sweep
from speechft.merging.planning import Plan, Recipe, plan
from speechft.merging.progress import Meter
from speechft.merging.settings import MergeSettings
from speechft.merging.sources import Source
from speechft.merging.sweep import split_texts
from speechft.merging.writing import default_threads, write_weights

log = get_logger(__name__)


def merge(settings: MergeSettings) -> Path:
    """Merge a base encoder with one or more tuned ones into a folder that loads where BASE does.

    Returns:
        The folder: `model.safetensors`, `config.json`, `preprocessor_config.json`, `README.md`,
        `speechft.json`; or `sweep.json` for a sweep.

    Raises:
        SettingsError: method, parameters, alpha or the output folder are wrong.
        IncompatibleModelsError: the encoders do not have the same tensors.
        CheckpointError: an encoder cannot be read.
    """
    _check_output(settings)
    out = settings.out.expanduser()
    method = METHODS[settings.method]
    sweep, texts = split_texts(settings.alpha_texts())
    first = [repr(sweep[0])] if sweep else []
    rules = parse_alpha([*texts, *first], method.default_alpha) if texts or first else None
    if not settings.allow_extrapolation:
        check_range([*(sweep or ()), *(rules.values if rules else ())])
    max_shard_bytes = parse_size(settings.max_shard_size)
    sources: list[Source] = []
    try:
        sources.append(open_encoder(settings.base))
        for name in settings.tuned:
            sources.append(open_encoder(name, base=settings.base))
        statistics = _statistics(settings)
        sources += statistics
        planned = plan(
            sources[0],
            sources[1 : 1 + len(settings.tuned)],
            Recipe(alpha=rules, **settings.options()),
            statistics,
        )
        _say_if_rounded(planned)
        _say_if_families_differ(planned)
        if sweep:
            if settings.gram_data:
                raise SettingsError(
                    "a sweep keeps no statistics that were gathered for it",
                    where="gram_data",
                    hint="give files with --statistics, or merge with one alpha",
                )
            with said_where(out, 0):
                if not is_done(out, stage="merge", settings=settings.plain()):
                    _say_what_is_replaced(out)
                options, plain = settings.options(), settings.plain()
                write_sweep(planned, sweep, texts, options, out, plain)
            log.info("merge: a sweep of %d encoders in %s", len(sweep), out)
            return out
        with said_where(out, planned.nbytes):
            return _write(settings, planned, max_shard_bytes, out)
    finally:
        for source in sources:
            source.close()


def recipe_values(path: Path) -> dict[str, Any]:
    """Read a YAML recipe: fields of `MergeSettings`, or a configuration in mergekit's spelling.

    Raises:
        SettingsError: it cannot be read, or would mean something else here.
    """
    values = read_yaml(path)
    if "merge_method" not in values:
        return values
    imported = dataclasses.asdict(from_mergekit(values, path))
    return {key: value for key, value in imported.items() if value not in (None, ())}


def _write(settings: MergeSettings, planned: Plan, max_shard_bytes: int | None, out: Path) -> Path:
    with ThreadPoolExecutor(settings.threads or default_threads()) as pool:
        parents = [planned.base, *planned.tuned, *planned.statistics]
        if is_done(out, stage="merge", settings=settings.plain()):
            hashes = list(pool.map(lambda source: source.sha256(), parents))
            if list(read_json(out / FILE_NAME)["parents"].values()) == hashes:
                log.info("merge: already done in %s", out)
                return out
        _say_what_is_replaced(out)
        with atomic_dir(out) as folder, Meter("merging", planned.nbytes) as meter:
            files = write_weights(
                planned,
                folder,
                pool,
                max_shard_bytes=max_shard_bytes,
                on_progress=meter.add,
            )
            hashing = [pool.submit(source.sha256) for source in parents]
            for file in files:
                flush(file)  # the disk writes while the processors hash
            hashes = [future.result() for future in hashing]
            describe(planned, hashes, folder, settings.plain())
    log.info("merge: %d tensors in %s (%s)", len(planned.outputs), out, meter.summary())
    return out


def _statistics(settings: MergeSettings) -> list[Source]:
    """Open the statistics that were given, or gather them on data."""
    if not settings.gram_data:
        return [open_encoder(name) for name in settings.statistics]
    count = len(settings.tuned)
    if settings.statistics:
        raise SettingsError("give statistics or gram_data, not both", where="gram_data")
    if METHODS[settings.method].statistics != "gram" or len(settings.gram_data) not in (1, count):
        raise SettingsError(
            "gram_data is for regmean, one for all tuned encoders or one for each",
            where="gram_data",
            found=f"{settings.method} with {len(settings.gram_data)} for {count}",
        )
    from speechft.merging.gathering import gram_source

    given = settings.gram_data
    data = given * count if len(given) == 1 else given
    return [
        gram_source(name, spec, settings.gram_seconds)
        for name, spec in zip(settings.tuned, data, strict=True)
    ]


def _say_if_rounded(planned: Plan) -> None:
    """Tell that a half-precision BASE makes a half-precision result of wider TUNEDs."""
    narrow = {out.dtype for out in planned.outputs} & {"F16", "BF16"}
    wide = any(info.dtype == "F32" for one in planned.tuned for info in one.tensors.values())
    if narrow and wide and planned.recipe.dtype is None:
        name = USER_NAMES[min(narrow)]
        log.info("merge: rounded to %s, BASE's type; dtype float32 keeps all of TUNED", name)


def _say_what_is_replaced(out: Path) -> None:
    """Tell which earlier merge is about to go: nothing else keeps it."""
    if stage_of(out) != "merge":
        return
    record = read_json(out / FILE_NAME)
    alphas = record.get("alphas")
    alpha = f"a sweep of {len(alphas)}" if isinstance(alphas, list) else record.get("alpha")
    parents = record.get("parents")
    names = ", ".join(map(str, parents)) if isinstance(parents, dict) else "unknown"
    log.info(
        "merge: replacing the merge in %s (%s, alpha %s, of %s)",
        *(out, record.get("method"), alpha, names),
    )


def _say_if_families_differ(planned: Plan) -> None:
    """Warn of a TUNED that fits by its shapes but was pre-trained otherwise than BASE."""
    base = (planned.base.config or {}).get("model_type")
    for one in planned.tuned:
        family = (one.config or {}).get("model_type")
        if None not in (base, family) and family != base:
            log.warning(
                "BASE is a %s, %s a %s: their difference is no task vector of fine-tuning",
                base,
                one.label,
                family,
            )


def _check_output(settings: MergeSettings) -> None:
    """Refuse to replace a parent or a folder that was not made by this stage."""
    out = settings.out.expanduser()
    parents = [Path(name).expanduser() for name in (settings.base, *settings.tuned)]
    target = out.resolve()
    if any(p.exists() and find(p).resolve().is_relative_to(target) for p in parents):
        raise SettingsError("--out would replace one of the encoders to merge", where=out)
    if not out.exists():
        return
    if out.is_dir() and (not any(out.iterdir()) or stage_of(out) == "merge"):
        return
    raise SettingsError(
        "there is something else in the output's place",
        where=out,
        expected="no folder, an empty one, or an earlier merge",
        hint="choose another --out, or remove it",
    )


def parse_size(text: str | None) -> int | None:
    """Read "5GB", "500 MB" or a number of bytes.

    Raises:
        SettingsError: it is none of these.
    """
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]?)B?\s*", text, re.IGNORECASE)
    if not found or float(found.group(1)) <= 0:
        raise SettingsError(
            "cannot read the size", where="max_shard_size", expected="5GB", found=text
        )
    return int(float(found.group(1)) * 1000 ** " KMG".index(found.group(2).upper() or " "))

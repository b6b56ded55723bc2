"""`speechft merge`: stage 2 of Speech-FT, and every other way to merge encoders in weight space."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from speechft.core.artifact import Artifact, content_id, dependencies, read_record, stage_of
from speechft.core.errors import SettingsError
from speechft.core.files import atomic_dir, flush, remove_leftovers
from speechft.core.locks import LOCK, work_alone
from speechft.core.logging import get_logger
from speechft.core.places import first_of
from speechft.merging.alpha import check_range, parse_alpha
from speechft.merging.inputs import find, open_encoder
from speechft.merging.meaning import refuse_other_meaning
from speechft.merging.methods import METHODS
from speechft.merging.output import describe, said_where, write_sweep
from speechft.merging.planning import Plan, Recipe, plan
from speechft.merging.progress import count_bytes
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
        SettingsError: method, parameters, alpha or the output folder are wrong, or another process
            is at work there.
        IncompatibleModelsError: the encoders do not have the same tensors, or these mean something
            else.
        CheckpointError: an encoder cannot be read.
    """
    out = settings.out.expanduser()
    remove_leftovers(out)
    _check_output(settings, out)
    points, texts = split_texts(settings.alpha_texts())
    max_shard_bytes = parse_size(settings.max_shard_size)
    with ThreadPoolExecutor(settings.threads or default_threads()) as pool, ExitStack() as opened:
        depends = pool.submit(dependencies, settings)  # hashes what is read, while it is read
        if read_record(out) and Artifact(out, "merge", depends.result()).done:
            log.info("merge: already done in %s", out)
            return out
        planned = _plan(settings, texts, points, opened)
        with said_where(out, 0 if points else planned.nbytes), work_alone(out):
            _say_what_is_replaced(out)
            with atomic_dir(out) as folder:
                hashes: dict[str, str] = {}
                if not points:
                    hashes = _write(planned, folder, pool, max_shard_bytes)
                wanted = depends.result()
                parents = {source.label: source.sha256() for source in planned.sources}
                if points:
                    about = write_sweep(planned, points, texts, settings.options(), folder)
                else:
                    about = describe(planned, folder)
                said = settings.plain()
                names = [path.name for path in folder.iterdir()]
                artifact = Artifact(folder, "merge", wanted)
                artifact.end(names, hashes, settings=said, parents=parents, **about)
    _say_what_was_written(planned, points, out)
    return out


def _plan(
    settings: MergeSettings, texts: Sequence[str], points: Sequence[float], opened: ExitStack
) -> Plan:
    """Open the encoders and check that they and the settings fit together.

    Of a sweep the first point is planned: all fit if one does.
    """
    sources: list[Source] = []
    for name in (settings.base, *settings.tuned):
        sources.append(open_encoder(name, base=settings.base if sources else None))
        opened.callback(sources[-1].close)
    statistics = _statistics(settings)
    for one in statistics:
        opened.callback(one.close)
    method = METHODS[settings.method]
    given = [*texts, *(repr(point) for point in points[:1])]
    alpha = parse_alpha(given, method.default_alpha) if given else None
    if alpha is not None and not settings.allow_extrapolation:
        check_range([*points, *alpha.values])
    recipe = Recipe(alpha=alpha, **settings.options())
    planned = plan(sources[0], sources[1:], recipe, statistics)
    refuse_other_meaning(planned.base, planned.tuned)
    return planned


def _write(
    planned: Plan, folder: Path, pool: ThreadPoolExecutor, max_shard_bytes: int | None
) -> dict[str, str]:
    """Write the weights; give the hashes of their files."""
    with count_bytes("merging", planned.nbytes) as count:
        files = write_weights(
            planned, folder, pool, max_shard_bytes=max_shard_bytes, on_progress=count
        )
        hashing = {file.name: pool.submit(content_id, file) for file in files}
        for file in files:
            flush(file)  # the disk writes while the processors hash
        return {name: future.result() for name, future in hashing.items()}


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


def _say_what_was_written(planned: Plan, points: Sequence[float], out: Path) -> None:
    if points:
        log.info("merge: a sweep of %d encoders in %s", len(points), out)
        return
    dtype = planned.dtype
    log.info("merge: %d tensors of %s in %s", len(planned.outputs), dtype, out)
    if dtype in ("float16", "bfloat16"):
        wide = any(info.dtype == "F32" for one in planned.tuned for info in one.tensors.values())
        log.info(
            "merge: %s is %s; load it with dtype=torch.float32 to give it float32 audio%s",
            *(dtype, "BASE's type" if planned.recipe.dtype is None else "as asked for"),
            "; --dtype float32 keeps all of TUNED" if wide else "",
        )


def _say_what_is_replaced(out: Path) -> None:
    """Tell which earlier merge is about to go: nothing else keeps it."""
    if stage_of(out) != "merge":
        return
    record = read_record(out) or {}
    alphas = record.get("alphas")
    alpha = f"a sweep of {len(alphas)}" if isinstance(alphas, list) else record.get("alpha")
    parents = record.get("parents")
    names = ", ".join(map(str, parents)) if isinstance(parents, dict) else "unknown"
    log.info(
        "merge: replacing the merge in %s (%s, alpha %s, of %s)",
        *(out, record.get("method"), alpha, names),
    )


def _check_output(settings: MergeSettings, out: Path) -> None:
    """Refuse to replace a parent or a folder that was not made by this stage."""
    parents = [Path(name).expanduser() for name in (settings.base, *settings.tuned)]
    target = out.resolve()
    if any(p.exists() and find(p).resolve().is_relative_to(target) for p in parents):
        raise SettingsError("--out would replace one of the encoders to merge", where=out)
    if not out.exists() or (out.is_dir() and stage_of(out) == "merge"):
        return
    others = sorted(p.name for p in out.iterdir() if p.name != LOCK) if out.is_dir() else ["a file"]
    if others:
        raise SettingsError(
            "there is something else in the output's place",
            where=out,
            expected="no folder, an empty one, or an earlier merge",
            found=first_of(others),
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

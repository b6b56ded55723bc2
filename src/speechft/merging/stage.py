"""`speechft merge`: stage 2 of Speech-FT, and every other way to merge encoders in weight space."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path

from speechft.core.artifact import (
    Artifact,
    content_id,
    dependencies,
    read_record,
    say_damage,
    stage_of,
)
from speechft.core.errors import CheckpointError, SettingsError
from speechft.core.files import atomic_dir, flush, remove_leftovers, write_json
from speechft.core.locks import LOCK, work_alone
from speechft.core.logging import get_logger
from speechft.core.paths import home_expanded, in_the_way
from speechft.core.stopping import threads
from speechft.encoders.identity import WEIGHTS, locate
from speechft.merging.alpha import Chosen, check_range, parse_alpha, read_choice, split_sweep
from speechft.merging.engine import Plan, Recipe, compute, plan, steady, steps
from speechft.merging.methods import METHODS
from speechft.merging.output import describe, head_files, said_where
from speechft.merging.settings import MergeSettings
from speechft.merging.sources import INDEX, Source, open_encoder
from speechft.merging.tensor_matching import refuse_other_meaning, warn_of_normalisation
from speechft.merging.tensorfile import TensorFileWriter, TensorInfo

log = get_logger(__name__)


def merge(settings: MergeSettings, chosen: Chosen | None = None) -> Path:
    """Merge a base encoder with one or more tuned ones into a folder that loads where BASE does.

    Args:
        settings: of the merge.
        chosen: what was chosen on data, with `alpha: auto`; else it is read from `chosen`.

    Returns:
        The folder: `model.safetensors`, `config.json`, `preprocessor_config.json`, `README.md`,
        `speechft.json`, `alpha.json` where data chose alpha; or `sweep.json` for a sweep.

    Raises:
        SettingsError: method, parameters, alpha or the output folder are wrong, or another process
            is at work there.
        IncompatibleModelsError: the encoders do not have the same tensors, or these mean something
            else.
        CheckpointError: an encoder cannot be read.
    """
    out = home_expanded(settings.out)
    check_output(settings, out)
    given = settings.alpha_texts()
    if settings.auto:
        chosen = chosen or read_choice(Path(str(settings.chosen)))
        given = [str(chosen["alpha"])]
    points, texts = split_sweep(given)
    max_shard_bytes = parse_size(settings.max_shard_size)
    with threads(settings.threads or _threads()) as pool, ExitStack() as opened:
        depends = pool.submit(dependencies, settings)  # hashes what is read, while it is read
        if read_record(out) and Artifact(out, "merge", depends.result(), settings.version).done:
            log.info("merge: already done in %s", out)
            return out
        planned = _plan(settings, texts, points, opened)
        with said_where(out, 0 if points else planned.nbytes), work_alone(out):
            _say_what_is_replaced(out)
            say_damage(out)
            with atomic_dir(out) as folder:
                hashes = {} if points else _write(planned, folder, pool, max_shard_bytes)
                wanted = depends.result()
                parents = {source.label: source.sha256() for source in planned.sources}
                if points:
                    warn_of_normalisation(planned.base, planned.tuned)
                    from speechft.merging.sweep import write_sweep

                    about = write_sweep(planned, points, texts, settings.options(), folder)
                else:
                    about = describe(planned, folder, chosen)
                said = settings.model_dump(mode="json", exclude={"out", "threads"})
                names = [path.name for path in folder.iterdir()]
                artifact = Artifact(folder, "merge", wanted, settings.version)
                artifact.end(names, hashes, settings=said, parents=parents, **about)
    _say_what_was_written(planned, points, out)
    return out


def check(settings: MergeSettings) -> None:
    """Refuse a merge as `merge` would, with encoders that are there; nothing is written.

    Raises:
        SettingsError, CheckpointError: see `merge`.
    """
    check_output(settings, home_expanded(settings.out))
    points, texts = split_sweep(settings.alpha_texts())
    with ExitStack() as opened:
        _plan(settings, texts, points, opened)


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
    _check_heads(planned, sweep=bool(points))
    refuse_other_meaning(planned.base, planned.tuned)
    return planned


def _check_heads(planned: Plan, *, sweep: bool) -> None:
    """Refuse to keep a head that is not there, or one in a sweep.

    Raises:
        SettingsError: a sweep has no heads.
        CheckpointError: TUNED has none.
    """
    if planned.recipe.heads != "tuned":
        return
    if sweep:
        raise SettingsError("a sweep holds no heads", where="heads", expected="drop, or one alpha")
    if not planned.match.heads and not head_files(planned.tuned[0]):
        raise CheckpointError(
            "TUNED has no head to keep",
            where=planned.tuned[0].label,
            expected="a head beside its encoder, or in safetensors weights around it",
            hint="--heads refit trains one on data, --heads drop goes without",
        )


def _write(
    planned: Plan, folder: Path, pool: Executor, max_shard_bytes: int | None
) -> dict[str, str]:
    """Write the weights, whole or in shards; give the hashes of their files."""
    shards = split_shards(planned.outputs, max_shard_bytes)
    names = [WEIGHTS]
    if len(shards) > 1:
        names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
        weight_map = {t.name: n for n, shard in zip(names, shards, strict=True) for t in shard}
        index = {"metadata": {"total_size": planned.nbytes}, "weight_map": weight_map}
        write_json(folder / INDEX, index)
    with count_bytes("merging", planned.nbytes) as count:
        with steady(planned.method), ExitStack() as opened:
            home: dict[str, TensorFileWriter] = {}
            for name, shard in zip(names, shards, strict=True):
                writer = TensorFileWriter(folder / name, shard)
                opened.callback(writer.close)
                home |= dict.fromkeys((info.name for info in shard), writer)

            def step(index: int, start: int, stop: int) -> None:
                name = planned.outputs[index].name
                stored = compute(planned, index, start, stop)
                home[name].write(name, start, stored)
                count(stored.nbytes)

            futures = [pool.submit(step, *part) for part in steps(planned)]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
            finally:
                for future in futures:
                    future.cancel()
                wait(futures)
        hashing = {name: pool.submit(content_id, folder / name) for name in names}
        for name in names:
            flush(folder / name)  # the disk writes while the processors hash
        return {name: future.result() for name, future in hashing.items()}


def split_shards(tensors: Sequence[TensorInfo], max_bytes: int | None) -> list[list[TensorInfo]]:
    """Cut a list of tensors into runs that are not larger than `max_bytes` (one tensor may be)."""
    shards: list[list[TensorInfo]] = [[]]
    size = 0
    for info in tensors:
        if max_bytes is not None and shards[-1] and size + info.nbytes > max_bytes:
            shards.append([])
            size = 0
        shards[-1].append(info)
        size += info.nbytes
    return shards


@contextmanager
def count_bytes(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Give a function that counts bytes, from any thread; a bar shows them on a terminal.

    Args:
        title: what is being done.
        total: bytes in all.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from speechft.core.progress import progress_bar

    with progress_bar() as bar:
        task = bar.add_task(title, total=total / 1e6, note="MB")
        yield lambda nbytes: bar.advance(task, nbytes / 1e6)


def _threads() -> int:
    """Give the number of threads that merging uses: the processors, at most four."""
    try:
        return min(4, len(os.sched_getaffinity(0)))
    except AttributeError:
        return min(4, os.cpu_count() or 1)


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
    from speechft.merging.data_statistics import gram_source

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
    if planned.recipe.heads == "drop" and any(head_files(one) for one in planned.tuned):
        log.info("merge: TUNED's head stays behind; --heads tuned keeps it, refit trains one anew")
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


def check_output(settings: MergeSettings, out: Path) -> None:
    """Refuse to replace a parent or a folder that was not made by this stage.

    What killed merges left there is ended before.
    """
    remove_leftovers(out)
    parents = [home_expanded(name) for name in (settings.base, *settings.tuned)]
    target = os.path.realpath(out)
    places = [Path(os.path.realpath(locate(p))) for p in parents if p.exists()]
    if any(place.is_relative_to(target) for place in places):
        raise SettingsError("--out would replace one of the encoders to merge", where=out)
    if not out.exists() or (out.is_dir() and stage_of(out) == "merge"):
        return
    others = sorted(p.name for p in out.iterdir() if p.name != LOCK) if out.is_dir() else ["a file"]
    if others:
        expected = "no folder, an empty one, or an earlier merge"
        raise in_the_way(out, others, expected, "choose another --out, or remove it")


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

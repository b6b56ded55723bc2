"""`speechft analyze`: how far encoders are from θ0, in their weights and in what they say."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from pathlib import Path

from lhotse.cut import Cut

from speechft.analysis.between import check_same_tensors, interpolate
from speechft.analysis.features import compare_states
from speechft.analysis.records import Record, records_of
from speechft.analysis.settings import AnalyzeSettings, analyze_artifact
from speechft.analysis.show import FIGURE, draw, markdown
from speechft.analysis.weights import distances
from speechft.core.artifact import (
    BEGUN,
    RECORD,
    stage_of,
)
from speechft.core.devices import usable_device
from speechft.core.errors import DataError, SettingsError
from speechft.core.files import read_jsonl, write_jsonl, write_text
from speechft.core.logging import get_logger, progress_bar
from speechft.core.places import in_the_way
from speechft.core.seeding import numpy_generator
from speechft.data.sources import load_data, refuse_long
from speechft.encoders import SpeechEncoder
from speechft.probing.inputs import open_encoder, open_sweeps, refuse_two_contexts
from speechft.probing.settings import EncoderSpec

RECORDS, PAGE = "analysis.jsonl", "analysis.md"
# Settings of a model that change what its weights do.
_SHAPING = (
    *("do_stable_layer_norm", "feat_extract_norm", "feat_extract_activation", "hidden_act"),
    *("layer_norm_eps", "conv_stride"),
)
_LEFT_OVER = re.compile(rf"\.{re.escape(BEGUN)}\..*\.tmp")
_PREFERRED = ("test", "dev", "train")
_logger = get_logger(__name__)


def analyze(settings: AnalyzeSettings) -> Path:
    """Compare encoders with the one that they come from.

    Weights: the length of the task vector, by part. Hidden states, layer by layer: linear CKA and
    cosine to θ0's; and, for every alpha, whether the states of the interpolated encoder are the
    interpolation of the states (layerwise linear feature connectivity).

    Returns:
        The folder: `analysis.jsonl` (a record per encoder, measure and layer), `analysis.md`,
        `similarity.png`.

    Raises:
        CheckpointError: an encoder cannot be loaded, or its tensors are not those of the base.
        DataError: the data cannot be read, or lacks the split.
        SettingsError: two encoders have the same name, the device cannot be used, or the folder
            holds something else.
    """
    _refuse_foreign(settings.out)
    specs = open_sweeps(settings.encoders)
    _refuse_same_names(specs)
    device = str(usable_device(settings.device))
    cuts = _utterances(settings)
    base_spec = EncoderSpec(path=settings.base)
    refuse_two_contexts([base_spec, *specs], settings.context)
    artifact = analyze_artifact(settings)
    if artifact.done:
        _logger.info("analyze: already done in %s", settings.out)
        return settings.out
    measured = any((settings.out / name).exists() for name in (RECORD, RECORDS))
    if not artifact.begin(replace=not measured):  # what only began is in nobody's way
        (settings.out / RECORDS).unlink(missing_ok=True)  # of no call that was stopped
    base = open_encoder(base_spec, device, settings.context)
    records = _measure(settings, base, specs, cuts, device)
    draw(records, settings.out / FIGURE)
    write_text(settings.out / PAGE, markdown(records, str(settings.base), len(cuts)))
    artifact.end((RECORDS, PAGE, FIGURE), parents={"base": base.fingerprint()})
    return settings.out


def _measure(
    settings: AnalyzeSettings,
    base: SpeechEncoder,
    specs: Sequence[EncoderSpec],
    cuts: Sequence[Cut],
    device: str,
) -> list[Record]:
    """Measure one encoder after the other; what a stopped call has measured is kept."""
    path = settings.out / RECORDS
    records: list[Record] = read_jsonl(path) if path.is_file() else []
    there = {record["encoder"] for record in records}
    left = [spec for spec in specs if spec.label not in there]
    with progress_bar() as bar:
        task = bar.add_task("analyze", total=len(left) * len(cuts), note="")
        for spec in left:
            bar.update(task, note=spec.label)
            other = open_encoder(spec, device, settings.context)
            check_same_tensors(base.model.state_dict(), other.model.state_dict(), spec.label)
            _warn_of_other_models(base, other, spec.label)
            between = {a: _between(base, other, a, spec.label) for a in settings.alphas}
            seconds = settings.batch_seconds
            found = compare_states(
                base, other, between, cuts, seconds, lambda n: bar.advance(task, n)
            )
            records += records_of(spec.label, distances(base, other), found)
            write_jsonl(path, records)
    return records


def _warn_of_other_models(base: SpeechEncoder, other: SpeechEncoder, label: str) -> None:
    ours, theirs = (
        {**e.config.to_dict(), **e.preprocessor, "family": e.family} for e in (base, other)
    )
    keys = {"family", "do_normalize", *_SHAPING}
    differing = sorted(k for k in keys if ours.get(k) != theirs.get(k))
    if differing:
        _logger.warning(
            "%s has the base's tensors and differs in %s: what is measured is not what its weights "
            "have moved alone, and points between are the base's model",
            label,
            ", ".join(differing),
        )


def _between(base: SpeechEncoder, other: SpeechEncoder, alpha: float, label: str) -> SpeechEncoder:
    start, end = (copy.deepcopy(encoder).cpu() for encoder in (base, other))
    return interpolate(start, end, alpha, label).to(base.device).eval()


def _utterances(settings: AnalyzeSettings) -> list[Cut]:
    data = load_data(settings.data)
    wanted = settings.split or next((n for n in _PREFERRED if n in data), next(iter(data)))
    if wanted not in data:
        raise DataError(
            f"the data has no split {wanted!r}", where=settings.data, found=", ".join(sorted(data))
        )
    cuts = list(data[wanted])
    order = numpy_generator(settings.seed, "analyze").permutation(len(cuts))
    chosen = [cuts[i] for i in sorted(order[: settings.utterances].tolist())]
    refuse_long(settings.data, chosen, settings.max_seconds)
    return chosen


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder with files of nobody's; what stages have made, `begin` refuses by name."""
    try:
        if not folder.is_dir() or (folder / BEGUN).exists() or stage_of(folder) is not None:
            return
        # A first call that was killed may have left a hidden file.
        names = sorted(p.name for p in folder.iterdir() if not _LEFT_OVER.fullmatch(p.name))
    except OSError:
        return  # `begin` says why
    if names:
        expected = "no folder, an empty one, or an earlier analysis"
        raise in_the_way(folder, names, expected, "choose another --out")


def _refuse_same_names(specs: Sequence[EncoderSpec]) -> None:
    labels = [spec.label for spec in specs]
    if len(set(labels)) != len(labels):
        raise SettingsError(
            "two encoders have the same name",
            found=max(labels, key=labels.count),
            hint="give each a name of its own: encoders: [[name, ENCODER], ...]",
        )

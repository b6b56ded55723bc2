"""`speechft analyze`: how far encoders are from θ0, in their weights and in what they say.

It keeps a record per encoder, measure and layer or part.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lhotse.cut import Cut

from speechft.analysis import barriers
from speechft.analysis.figure import draw
from speechft.analysis.hidden_similarity import (
    Cosines,
    Layers,
    Likeness,
    check_same_tensors,
    compare_states,
)
from speechft.analysis.settings import RECORDS, AnalyzeSettings, analyze_artifact
from speechft.analysis.table import FIGURE, markdown
from speechft.analysis.weights import distances, parameters_of, vectors
from speechft.core.artifact import (
    BEGUN,
    RECORD,
    stage_of,
)
from speechft.core.devices import usable_device
from speechft.core.errors import SettingsError
from speechft.core.files import read_jsonl, write_jsonl, write_text
from speechft.core.logging import get_logger
from speechft.core.paths import in_the_way
from speechft.core.progress import progress_bar
from speechft.data.load import load_data, load_split, refuse_long
from speechft.data.utterances import drawn
from speechft.encoders import SpeechEncoder
from speechft.probing.inputs import open_encoder, open_sweeps, refuse_two_contexts
from speechft.probing.settings import EncoderSpec
from speechft.tasks import arranged, check_labels, refuse_empty
from speechft.tasks.kept_head import KeptHead, read_head

VECTORS, PAGE = "vectors.jsonl", "analysis.md"
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

    Weights: the length of the task vector, by part, and how those of several encoders stand to each
    other. Hidden states, layer by layer: linear CKA, CCA, SVCCA and cosine to θ0's; and, for every
    alpha, whether the states of the interpolated encoder are the interpolation of the states
    (layerwise linear feature connectivity). With heads, whether their losses have a barrier on the
    way from θ0.

    Returns:
        The folder: `analysis.jsonl` (a record per encoder, measure and layer), `vectors.jsonl`
        (cosines between task vectors, deviations and sign conflicts by tensor), `analysis.md`,
        `similarity.png`.

    Raises:
        CheckpointError: an encoder cannot be loaded, its tensors are not those of the base, or a
            head does not fit.
        DataError: the data cannot be read, or lacks the split.
        SettingsError: two encoders have the same name, there are more or fewer heads than stored
            encoders, the device cannot be used, or the folder holds something else.
    """
    _refuse_foreign(settings.out)
    specs = open_sweeps(settings.encoders)
    _refuse_same_names(specs)
    device = str(usable_device(settings.device))
    loaded = load_split(settings.data, settings.split, _PREFERRED)
    cuts = drawn(loaded, settings.utterances, settings.seed, "analyze")
    refuse_long(settings.data, cuts, settings.max_seconds)
    heads = _heads(settings, specs)
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
    for label, headed in heads.items():  # whose encoders have the base's tensors
        headed.head.check(base, label, same=False)
    records = _measure(settings, base, specs, cuts, heads, device)
    draw(records, settings.out / FIGURE)
    write_jsonl(settings.out / VECTORS, _beside_each_other(settings, base, specs))
    write_text(settings.out / PAGE, markdown(records, str(settings.base), len(cuts)))
    said = settings.model_dump(mode="json", exclude={"out"}, exclude_defaults=True)
    parents = {"base": base.fingerprint()}
    artifact.end((RECORDS, VECTORS, PAGE, FIGURE), settings=said, parents=parents)
    return settings.out


def _measure(
    settings: AnalyzeSettings,
    base: SpeechEncoder,
    specs: Sequence[EncoderSpec],
    cuts: Sequence[Cut],
    heads: Mapping[str, Headed],
    device: str,
) -> list[Record]:
    """Measure some encoders after others; what a stopped call has measured is kept."""
    path = settings.out / RECORDS
    records: list[Record] = read_jsonl(path) if path.is_file() else []
    there = {record["encoder"] for record in records}
    left = [spec for spec in specs if spec.label not in there]
    with progress_bar() as bar:
        groups = [left[n : n + settings.at_once] for n in range(0, len(left), settings.at_once)]
        more = sum(len(heads[spec.label].cuts) for spec in left if spec.label in heads)
        task = bar.add_task("analyze", total=len(groups) * len(cuts) + more, note="")

        def note(count: int) -> None:
            bar.advance(task, count)

        for group in groups:
            bar.update(task, note=", ".join(spec.label for spec in group))
            others = [_other(base, spec, device, settings.context) for spec in group]
            found = compare_states(
                base, others, settings.alphas, cuts, settings.batch_seconds, note
            )
            for spec, other, likeness in zip(group, others, found, strict=True):
                records += records_of(spec.label, distances(base, other), likeness)
                if spec.label in heads:
                    headed = heads[spec.label]
                    way = barriers.along_the_way(
                        base, other, headed.head, headed.cuts, settings.alphas,
                        settings.batch_seconds, note,
                    )  # fmt: skip
                    records += barriers.records_of(spec.label, headed.head, way)
            write_jsonl(path, records)
    return records


class Headed(NamedTuple):
    """A head, and the utterances that it is scored on."""

    head: KeptHead
    cuts: list[Cut]


def _heads(settings: AnalyzeSettings, specs: Sequence[EncoderSpec]) -> dict[str, Headed]:
    """Read the heads of stored encoders, and the dev splits of their tasks."""
    if settings.barriers is None:
        return {}
    stored = [spec.label for spec in specs if spec.alpha is None]
    if len(settings.heads) not in (1, len(stored)):
        raise SettingsError(
            "there are more or fewer heads than stored encoders",
            where="heads",
            expected=f"1 or {len(stored)}",
            found=len(settings.heads),
        )
    data = load_data(settings.barriers)
    found = []
    for file in settings.heads:
        head = read_head(file)
        task = head.task
        if task.compares:
            raise SettingsError(
                f"a head for {task.id!r} has no loss by utterance", where=file, found=task.compares
            )
        _, (_, dev), *_ = arranged(type(task), data, settings.barriers, task.protocol)
        chosen = drawn(dev, settings.utterances, settings.seed, "analyze")
        refuse_empty(task, chosen)
        check_labels(task, chosen)
        refuse_long(settings.barriers, chosen, settings.max_seconds)
        found.append(Headed(head, chosen))
    return dict(zip(stored, found * len(stored) if len(found) == 1 else found, strict=True))


def _other(base: SpeechEncoder, spec: EncoderSpec, device: str, context: Any) -> SpeechEncoder:
    """Open an encoder with the base's tensors."""
    other = open_encoder(spec, device, context)
    check_same_tensors(base.model.state_dict(), other.model.state_dict(), spec.label)
    _warn_of_other_models(base, other, spec.label)
    return other


def _beside_each_other(
    settings: AnalyzeSettings, base: SpeechEncoder, specs: Sequence[EncoderSpec]
) -> list[Record]:
    """Say how far stored encoders moved, and how that stands to each other; all are in memory.

    A point between θ0 and an encoder has the direction of that one.
    """
    stored = [spec for spec in specs if spec.alpha is None]
    if not stored:
        return []
    opened = {spec.label: open_encoder(spec, "cpu", settings.context) for spec in stored}
    own = {label: parameters_of(encoder) for label, encoder in opened.items()}
    return vectors(parameters_of(base), own)


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


Record = dict[str, Any]


def records_of(label: str, moved: Mapping[str, float], found: Likeness) -> list[Record]:
    """Give an encoder's records; all values in percent.

    Args:
        label: its name.
        moved: part → length of the task vector.
        found: of its hidden states; what says nothing is None.
    """
    records: list[Record] = [
        {"encoder": label, "measure": "distance", "part": part, "value": value}
        for part, value in moved.items()
    ]

    def add(measure: str, layers: Layers | Cosines, what: str, **more: float) -> None:
        records.extend(
            {
                "encoder": label,
                "measure": measure,
                **more,
                "layer": layer,
                "value": _percent(getattr(one, what)),
                "frames": one.frames,
            }
            for layer, one in enumerate(layers)
        )

    for measure in ("cka", "unbiased_cka", "cca", "svcca", "cosine"):
        add(measure, found.to_base, measure)
    for alpha, layers in found.connected.items():
        add("connectivity", layers, "cosine", alpha=alpha)
    return records


def _percent(share: float) -> float | None:
    return 100 * share if math.isfinite(share) else None

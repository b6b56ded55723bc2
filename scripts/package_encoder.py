"""Turn a pre-training run into a packaged encoder: half precision, card, recipe, loss curve.

python scripts/package_encoder.py RUN RECIPE src/speechft/assets/NAME

What the card says about layers comes from results/layers.json, where `scripts/probe_layers.py`
has put the encoder under its NAME.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from speechft.core.files import atomic_dir, read_json, read_jsonl, write_json, write_text
from speechft.core.settings import parse_settings
from speechft.core.yaml12 import read_yaml
from speechft.encoders import load_encoder
from speechft.training.pretrain.settings import MASKED, Iteration, PretrainSettings

ROOT = Path(__file__).resolve().parent.parent
LAYERS, ASSETS = ROOT / "results" / "layers.json", ROOT / "src" / "speechft" / "assets"

CARD = """---
license: apache-2.0
library_name: transformers
tags: [speech, {family}, speechft, synthetic]
---
# {name}

A {family} encoder of {millions:.1f} M parameters ({layers} layers, width {width}), pre-trained by
speechft itself on **{hours:.1f} hours of synthetic speech** (eSpeak NG voices, {utterances}
utterances, English, no recording of any person). It exists so that examples, tests and studies
run without a download. It is of no use on real recordings.

- Objective: {objective}
- Weights: float16 on disk, float32 when loaded.
- Loss curve: `loss.png`; every figure of it: `metrics.jsonl`.
- Made by: `speechft pretrain --config recipe.yaml --out RUN`, then
  `python scripts/package_encoder.py RUN recipe.yaml {name}`; seed {seed}, one thread of a CPU.

{table}
{probe}"""

GUIDE = """
  **Not wholly self-supervised:** before round {number} a copy of the encoder learned to name the
  phoneme of every frame on {hours:.1f} labelled hours of the same speech ({steps} updates); the
  units of that round are clusters of the copy's hidden layer, and the copy was thrown away
  (supervision-guided codebooks, Wang et al. 2022). Without it, upper layers of so small and
  briefly trained an encoder say less about phonemes than its CNN front end."""
TEACHER = """
  The units of round {number} are clusters of layer {layer} of `{teacher}`, as WavLM Base took its
  units from HuBERT.{hand}"""
MIXING = """
  In training {mixing:.0%} of the utterances had a part of another one, or noise, on top."""
FRONT_END = """
  The CNN front end is that of `{front_end}`{frozen}.{hand}"""
SECOND_HAND = """
  **Not wholly self-supervised, at second hand:** a little labelled speech helped to make that
  encoder, as its card says."""
UNMASKED = """
  The same loss on frames that are not masked counts {weight:g} times as much."""
CONTRASTIVE = """contrastive, as in wav2vec 2.0: at masked frames the transformer's output is
  compared with the quantised features of the frame and of {negatives} other masked frames of the
  utterance ({groups} codebooks of {entries} entries). This takes no label and no cluster."""
RECONSTRUCTION = """reconstruction, as in DeCoAR 2.0: masked filter banks are made again from the
  transformer's output, which passes {groups} codebooks of {entries} entries on the way (mean
  absolute error). This takes no label and no cluster."""
PROBE = """
Accuracy in percent of a linear phoneme classifier per frame, by layer ({phonemes} classes,
{data}, other speakers and sentences than in training):

| encoder | {heads} |
| --- |{lines}
{rows}
{verdict}"""
POOR = """
On so little computing its last layer says less about phonemes than layer 0 does.
"""


class Curve(NamedTuple):
    """Names in `metrics.jsonl` and in the figure."""

    loss: str
    title: str
    heads: str
    columns: tuple[tuple[str, str], ...]


CURVES = {
    "masked-prediction": Curve(
        "masked_loss",
        "cross entropy on masked frames",
        "| iteration | units | updates | dev loss on masked frames "
        "| dev accuracy on masked frames |",
        (("masked_loss", "{:.2f}"), ("masked_accuracy", "{:.1f} %")),
    ),
    "contrastive": Curve(
        "contrastive_loss",
        "contrastive loss on masked frames",
        "| updates | dev loss | own target nearest, dev | entries in use "
        "| perplexity of a codebook |",
        (
            ("contrastive_loss", "{:.2f}"),
            ("contrastive_accuracy", "{:.1f} %"),
            ("codes", "{:.0f}"),
            ("code_perplexity", "{:.1f}"),
        ),
    ),
    "reconstruction": Curve(
        "masked_error",
        "mean absolute error on masked frames",
        "| updates | dev error on masked frames | error of the mean | entries in use "
        "| perplexity of a codebook |",
        (
            ("masked_error", "{:.3f}"),
            ("silent_error", "{:.3f}"),
            ("codes", "{:.0f}"),
            ("code_perplexity", "{:.1f}"),
        ),
    ),
}


def main(run: Path, recipe_file: Path, target: Path) -> None:
    """Write the packaged encoder."""
    settings = parse_settings(
        PretrainSettings, {**read_yaml(recipe_file), "out": run}, str(recipe_file)
    )
    encoder = load_encoder(run / "encoder").half()
    halves = {name: tensor.half() for name, tensor in encoder.side.tensors.items()}
    encoder.side = replace(encoder.side, tensors=halves)
    folders = [run / f"iteration-{n + 1}" for n in range(len(settings.iterations))] or [run]
    curves = [read_jsonl(folder / "metrics.jsonl") for folder in folders]
    with atomic_dir(target) as folder:
        encoder.save(folder)
        shutil.copyfile(recipe_file, folder / "recipe.yaml")
        kept = [
            {"iteration": n, **{k: v for k, v in line.items() if k != "seconds"}}
            for n, lines in enumerate(curves, start=1)
            for line in lines
            if line["update"] % 100 == 0
        ]
        write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in kept))
        write_json(folder / "speechft.json", read_json(run / "speechft.json"))
        plot(curves, CURVES[settings.objective or MASKED], folder / "loss.png")
        write_text(folder / "README.md", card(target.name, encoder, settings, run, curves))


def card(
    name: str, encoder: Any, settings: PretrainSettings, run: Path, curves: list[list[dict]]
) -> str:
    """Give the model card, with figures from the run."""
    record = read_json(run / "speechft.json")
    return CARD.format(
        name=name,
        family=encoder.family,
        millions=sum(p.numel() for p in encoder.parameters()) / 1e6,
        layers=encoder.num_layers,
        width=encoder.hidden_size,
        hours=record["hours"],
        utterances=record["utterances"],
        objective=objective(settings),
        seed=settings.seed,
        table=table(settings, curves),
        probe=probe(name),
    )


def objective(settings: PretrainSettings) -> str:
    """Say what was learned from what."""
    books = settings.quantiser.model_dump()
    begun = ""
    if settings.front_end:
        frozen = " and was left as it is" if settings.freeze_front_end else " to begin with"
        begun = FRONT_END.format(
            front_end=settings.front_end, frozen=frozen, hand=second_hand(settings.front_end)
        )
    if settings.unmasked_weight and settings.objective in ("contrastive", "reconstruction"):
        begun = UNMASKED.format(weight=settings.unmasked_weight) + begun
    if settings.objective == "contrastive":
        return CONTRASTIVE.format(negatives=settings.contrastive.negatives, **books) + begun
    if settings.objective == "reconstruction":
        return RECONSTRUCTION.format(**books) + begun
    rounds = settings.iterations
    count = f"{len(rounds)} iteration{'s' if len(rounds) > 1 else ''}"
    text = f"masked prediction of k-means units, {count} ({', then '.join(map(units, rounds))})."
    for number, one in enumerate(rounds, 1):
        if one.guide:
            hours = one.guide.seconds / 3600
            text += GUIDE.format(number=number, hours=hours, **one.guide.model_dump())
        if one.teacher:
            hand = second_hand(one.teacher)
            text += TEACHER.format(number=number, layer=one.layer, teacher=one.teacher, hand=hand)
    return text + begun + (MIXING.format(mixing=settings.mixing) if settings.mixing else "")


def second_hand(encoder: str) -> str:
    """Say so if labels took part in making another packaged encoder."""
    file = ASSETS / encoder / "README.md"
    return (
        SECOND_HAND if file.is_file() and "Not wholly self-supervised" in file.read_text() else ""
    )


def units(one: Iteration) -> str:
    """Say what the units of a round are."""
    source = "MFCCs" if one.layer is None else f"layer {one.layer}"
    of = " of a guided copy" if one.guide else f" of {one.teacher}" if one.teacher else ""
    return f"{one.clusters} of {source}{of}"


def table(settings: PretrainSettings, curves: list[list[dict]]) -> str:
    """Give the last dev figures of each curve."""
    curve = CURVES[settings.objective or MASKED]
    rows = [curve.heads, "|" + " --- |" * (curve.heads.count("|") - 1)]
    for number, lines in enumerate(curves, 1):
        dev = [line for line in lines if f"dev_{curve.loss}" in line][-1]
        cells = [form.format(dev[f"dev_{key}"]) for key, form in curve.columns]
        if settings.iterations:
            one = settings.iterations[number - 1]
            cells = [str(number), units(one), str(one.steps), *cells]
        else:
            cells = [str(settings.steps), *cells]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def probe(name: str) -> str:
    """Give the accuracy by layer beside that of tiny-hubert, where it was measured."""
    record = read_json(LAYERS)
    rows = {key: record["layers"][key] for key in (name, "tiny-hubert") if key in record["layers"]}
    if name not in rows:
        return ""
    count = len(rows[name])
    poor = rows[name][-1] < rows[name][0]
    return PROBE.format(
        verdict=POOR if poor else "",
        data=f"`{record['data']}`",
        phonemes=record["phonemes"],
        heads=" | ".join(str(layer) for layer in range(count)),
        lines=" ---: |" * count,
        rows="\n".join(
            f"| {key} | {' | '.join(f'{value:.1f}' for value in row)} |"
            for key, row in rows.items()
        ),
    )


def plot(curves: list[list[dict]], curve: Curve, path: Path) -> None:
    """Draw training and dev loss on masked frames over the updates of all iterations."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    start = 0
    for number, lines in enumerate(curves, start=1):
        train = [x for x in lines if curve.loss in x]
        means = [
            sum(x[curve.loss] for x in train[i : i + 10]) / len(train[i : i + 10])
            for i in range(0, len(train), 10)
        ]
        at = [start + train[i]["update"] for i in range(0, len(train), 10)]
        axes.plot(at, means, color="#8fb3d9", label="training" if number == 1 else None)
        dev = [x for x in lines if f"dev_{curve.loss}" in x]
        axes.plot(
            [start + x["update"] for x in dev],
            [x[f"dev_{curve.loss}"] for x in dev],
            "o-",
            color="#1f4e8c",
            label="dev" if number == 1 else None,
        )
        start += lines[-1]["update"]
        if number < len(curves):
            axes.axvline(start, color="#999999", linestyle=":")
    label = "update (all iterations)" if len(curves) > 1 else "update"
    axes.set(xlabel=label, ylabel=curve.title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))

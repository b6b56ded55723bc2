"""Turn a pre-training run into a packaged encoder: half precision, card, recipe, loss curve.

python scripts/package_encoder.py RUN RECIPE src/speechft/assets/NAME
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from speechft.core.files import atomic_dir, read_json, read_jsonl, write_json, write_text
from speechft.core.settings import read_yaml
from speechft.encoders import load_encoder

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

- Objective: masked prediction of k-means units, {iterations}.{guides}
- Weights: float16 on disk, float32 when loaded.
- Loss curve: `loss.png`; every figure of it: `metrics.jsonl`.
- Made by: `speechft pretrain --config recipe.yaml --out RUN`, then
  `python scripts/package_encoder.py RUN recipe.yaml {name}`; seed {seed}, one thread of a CPU.

| iteration | units | updates | dev loss on masked frames | dev accuracy on masked frames |
| --- | --- | --- | --- | --- |
{rows}
"""

GUIDE = """
  **Not wholly self-supervised:** before round {number} a copy of the encoder learned to name the
  phoneme of every frame on {hours:.1f} labelled hours of the same speech ({steps} updates); the
  units of that round are clusters of the copy's hidden layer, and the copy was thrown away
  (supervision-guided codebooks, Wang et al. 2022). Without it, upper layers of so small and
  briefly trained an encoder say less about phonemes than its CNN front end."""


def main(run: Path, recipe_file: Path, target: Path) -> None:
    """Write the packaged encoder."""
    recipe = read_yaml(recipe_file)
    record = read_json(run / "speechft.json")
    encoder = load_encoder(run / "encoder").half()
    curves = [
        read_jsonl(run / f"iteration-{n + 1}" / "metrics.jsonl")
        for n in range(len(recipe["iterations"]))
    ]
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
        write_json(folder / "speechft.json", record)
        plot(curves, folder / "loss.png")
        write_text(folder / "README.md", card(target.name, encoder, recipe, record, curves))


def card(name: str, encoder: object, recipe: dict, record: dict, curves: list) -> str:
    """Give the model card, with figures from the run."""
    rows, kinds, guides = [], [], ""
    for number, (round_, lines) in enumerate(zip(recipe["iterations"], curves, strict=True), 1):
        layer = round_.get("layer")
        units = f"{round_['clusters']} of {'MFCCs' if layer is None else f'layer {layer}'}"
        if guide := round_.get("guide"):
            units += " of a guided copy"
            guides += GUIDE.format(number=number, hours=guide["seconds"] / 3600, **guide)
        kinds.append(units)
        dev = [line for line in lines if "dev_masked_loss" in line][-1]
        rows.append(
            f"| {number} | {units} | {round_['steps']} | {dev['dev_masked_loss']:.2f} "
            f"| {dev['dev_masked_accuracy']:.1f} % |"
        )
    return CARD.format(
        name=name,
        family=encoder.family,
        millions=sum(p.numel() for p in encoder.parameters()) / 1e6,
        layers=encoder.num_layers,
        width=encoder.hidden_size,
        hours=record["hours"],
        utterances=record["utterances"],
        guides=guides,
        iterations=f"{len(rows)} iterations ({', then '.join(kinds)})",
        seed=recipe["seed"],
        rows="\n".join(rows),
    )


def plot(curves: list, path: Path) -> None:
    """Draw training and dev loss on masked frames over the updates of all iterations."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    start = 0
    for number, lines in enumerate(curves, start=1):
        train = [x for x in lines if "masked_loss" in x]
        means = [
            sum(x["masked_loss"] for x in train[i : i + 10]) / len(train[i : i + 10])
            for i in range(0, len(train), 10)
        ]
        at = [start + train[i]["update"] for i in range(0, len(train), 10)]
        axes.plot(at, means, color="#8fb3d9", label="training" if number == 1 else None)
        dev = [x for x in lines if "dev_masked_loss" in x]
        axes.plot(
            [start + x["update"] for x in dev],
            [x["dev_masked_loss"] for x in dev],
            "o-",
            color="#1f4e8c",
            label="dev" if number == 1 else None,
        )
        start += lines[-1]["update"]
        if number < len(curves):
            axes.axvline(start, color="#999999", linestyle=":")
    axes.set(xlabel="update (all iterations)", ylabel="cross entropy on masked frames")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))

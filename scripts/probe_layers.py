"""How much each layer says about phonemes: a linear classifier per frame and layer.

python scripts/probe_layers.py results/layers.json NAME=ENCODER [NAME=ENCODER ...]

Trains on 250 utterances of the demo's `train` split, tests on its `test` split (other speakers,
other sentences), and prints accuracy in percent: layer 0 (CNN front end and positional
convolution) to the last. Seed 0; a minute per encoder on one core. Rows of other names that the
file holds stay.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from speechft.core.files import read_json, write_json
from speechft.data.audio import load_waveform
from speechft.data.load import load_data
from speechft.encoders import load_encoder
from speechft.training.pretrain.phoneme_units import phoneme_units

TRAIN, EPOCHS, BATCH, RATE = 250, 6, 512, 3e-3


def main(out: Path, encoders: dict[str, str]) -> None:
    """Probe every encoder; write and print the table."""
    data = load_data("synthetic:demo")
    splits = [list(data["train"])[:TRAIN], list(data["test"])]
    units, symbols = phoneme_units([cut for cuts in splits for cut in cuts], hop=320)
    labels = [units[:TRAIN], units[TRAIN:]]
    rows = read_json(out)["layers"] if out.is_file() else {}
    for name, path in encoders.items():
        train, test = (
            frames(path, cuts, wanted) for cuts, wanted in zip(splits, labels, strict=True)
        )
        rows[name] = [
            accuracy(train[0][layer], train[1], test[0][layer], test[1], len(symbols))
            for layer in range(len(train[0]))
        ]
        print(name, *(f"{value:.1f}" for value in rows[name]))
    record = {
        "what": "frame accuracy of a linear phoneme classifier, percent, by layer",
        "data": "synthetic:demo",
        "train_utterances": TRAIN,
        "test_utterances": len(splits[1]),
        "phonemes": len(symbols),
        "seed": 0,
        "layers": rows,
    }
    write_json(out, record)


@torch.inference_mode()
def frames(path: str, cuts: list, units: list) -> tuple[list[Tensor], Tensor]:
    """Give the frames of each layer, (N, D), and their phonemes (N,)."""
    encoder = load_encoder(path).eval()
    layers: list[list[Tensor]] = [[] for _ in range(encoder.num_layers + 1)]
    labels = []
    for cut, wanted in zip(cuts, units, strict=True):
        states = encoder([load_waveform(cut)]).hidden_states
        length = min(states[0].shape[1], len(wanted))
        for kept, state in zip(layers, states, strict=True):
            kept.append(state[0, :length])
        labels.append(torch.from_numpy(wanted[:length]).long())
    return [torch.cat(kept).clone() for kept in layers], torch.cat(labels).clone()


def accuracy(x: Tensor, y: Tensor, test_x: Tensor, test_y: Tensor, classes: int) -> float:
    """Train a linear classifier on standardised frames; give its accuracy in percent."""
    mean, spread = x.mean(0), x.std(0) + 1e-5
    x, test_x = (x - mean) / spread, (test_x - mean) / spread
    torch.manual_seed(0)
    linear = torch.nn.Linear(x.shape[1], classes)
    optimizer = torch.optim.Adam(linear.parameters(), RATE)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(linear(x[batch]), y[batch]).backward()
            optimizer.step()
    right = linear(test_x).argmax(1) == test_y
    return round(100 * float(right.float().mean()), 2)


if __name__ == "__main__":
    if len(sys.argv) < 3 or any("=" not in pair for pair in sys.argv[2:]):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), dict(pair.split("=", 1) for pair in sys.argv[2:]))

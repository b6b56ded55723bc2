"""S3PRL reads what `convert --to s3prl` writes, at Base size, and gives the same hidden states.

    python benchmarks/convert_against_s3prl.py --s3prl-python s3prl-venv/bin/python

How to build that environment is said in `benchmarks/s3prl_side.py`. Weights are random: a name or
a setting that is wrong shows all the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from speechft.encoders import build_encoder, load_encoder
from speechft.encoders.convert import convert
from speechft.encoders.settings import ConvertSettings

LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
CONFIGS = {
    "hubert": {"model_type": "hubert"},
    "wav2vec2": {"model_type": "wav2vec2"},
    "wavlm": {"model_type": "wavlm"},
    "data2vec": {"model_type": "data2vec-audio"},
    "decoar2": {"model_type": "decoar2"},
    "hubert, large style": {"model_type": "hubert", **LARGE},
    "wav2vec2, large style": {"model_type": "wav2vec2", **LARGE},
    "wavlm, large style": {"model_type": "wavlm", **LARGE},
}
S3PRL_NAMES = {"data2vec-audio": "data2vec"}
SECONDS = (2.31, 1.0, 0.52)


def waveforms() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn(int(s * 16000), generator=generator) for s in SECONDS]
    return [0.1 * torch.nn.functional.avg_pool1d(n[None], 5, 1, 2)[0] for n in noise]


def spread(encoder) -> None:
    """Make norms and biases differ from those of a new model, so that none can be mixed up."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in encoder.model.named_parameters():
            if parameter.dim() == 1 or "rel_attn_embed" in name:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


def compare(name: str, python: Path, work: Path) -> float:
    encoder = build_encoder(CONFIGS[name], seed=0)
    spread(encoder)
    encoder.save(work / "hf")
    torch.save(waveforms(), work / "waves.pt")
    convert(ConvertSettings(source=str(work / "hf"), target=work / "s3prl.pt", to="s3prl"))
    family = S3PRL_NAMES.get(encoder.family, encoder.family)
    command = [python, Path(__file__).parent / "s3prl_side.py", "--family", family]
    command += ["--checkpoint", work / "s3prl.pt", "--waves", work / "waves.pt"]
    command += ["--out", work / "states.pt", "--batch", "1"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    encoder = load_encoder(work / "s3prl.pt")
    errors = []
    with torch.no_grad():
        output = encoder(waveforms())
    for i, wanted in enumerate(torch.load(work / "states.pt", weights_only=True)):
        for ours, theirs in zip(output.hidden_states, wanted, strict=True):
            length = int(output.lengths[i])
            if theirs.shape[1] != length:
                raise SystemExit(f"{name}: {theirs.shape[1]} frames, expected {length}")
            errors.append(float((ours[i, :length] - theirs[0]).abs().max() / theirs.std()))
    return max(errors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--s3prl-python", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(CONFIGS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results = {}
    for name in options.only:
        with tempfile.TemporaryDirectory() as work:
            results[name] = compare(name, options.s3prl_python.absolute(), Path(work))
        verdict = "same" if results[name] < 1e-4 else "DIFFERENT"
        sys.stdout.write(f"{name:24} {results[name]:.1e} standard deviations  {verdict}\n")
        sys.stdout.flush()
    if options.out:
        options.out.write_text(json.dumps(results, indent=2) + "\n")
    sys.exit(any(error >= 1e-4 for error in results.values()))


if __name__ == "__main__":
    main()

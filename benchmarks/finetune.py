"""Updates of a fine-tuning: ours beside the plain transformers Trainer and S3PRL's update.

    python benchmarks/finetune.py --s3prl-python s3prl-venv/bin/python --threads 2 --seeds 0 1 2
    python benchmarks/finetune.py --family whisper --encoder WHISPER-BASE-ENCODER --threads 2

How to build that environment is said in `benchmarks/s3prl_side.py`. All sides get the same encoder
at Base size (random weights unless `--encoder` names one), the same head (a linear layer, the mean
over frames, a linear layer to 16 classes), the same batches of utterances of one length, so that
nobody pads, the same rate, clip and AdamW. Dropout is off, so that the losses are those of the same
computation: how far apart they are is shown. The CNN front end stays frozen; ours keeps what it
gives of an utterance after the first epoch. Ours is `speechft finetune` as a user runs it;
transformers' is its encoder with that head in the Trainer; S3PRL's is its encoder in what its
runner does for an update (it knows no bfloat16, so it computes in float32). Whisper's encoder is
compared at 30 s of context, as transformers has it, and with `context: utterance`, which is ours.

Every side runs in a process of its own, one seed after the other, so that other work on the machine
hits all sides. Time is the median over updates after the first epoch, the peak is the process's own
(on a GPU: of allocated memory).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

CLASSES = 16
RATE = 1e-4
STILL = dict.fromkeys(
    ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"), 0.0
)
WHISPER_BASE = {"d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8}
WHISPER_BASE |= {"encoder_ffn_dim": 2048}
WHISPER_BASE |= {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 64}


def make_data(folder: Path, utterances: int, seconds: float, seed: int = 0) -> Path:
    """Write noise of one length, whose band tells the class, with a table."""
    import soundfile

    noise = torch.Generator().manual_seed(seed)
    rows = ["audio,speaker,split"]
    for number in range(utterances):
        spectrum = torch.fft.rfft(torch.randn(int(16000 * seconds), generator=noise))
        low = len(spectrum) * (number % CLASSES) // (2 * CLASSES)
        spectrum[:low], spectrum[low + len(spectrum) // 4 :] = 0, 0
        wave = 0.1 * torch.fft.irfft(spectrum) / spectrum.abs().square().mean().sqrt() * 200
        name = f"utterance-{number:04d}.wav"
        soundfile.write(folder / name, wave.clamp(-1, 1).numpy(), 16000, subtype="FLOAT")
        rows.append(f"{name},class-{number % CLASSES:02d},train")
    table = folder / "table.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def run_ours(options: argparse.Namespace) -> dict[str, Any]:
    """Fine-tune as a user does; note the batches and the head that it began with."""
    from speechft.data.audio import load_waveform
    from speechft.training.finetune.objective import FineTuning
    from speechft.training.finetune.run import Run
    from speechft.training.finetune.settings import FinetuneSettings
    from speechft.training.finetune.stage import finetune
    from speechft.training.loop import LoopSettings

    batches: list[list[int]] = []
    noted: dict[str, Any] = {"batches": batches, "rate": RATE}
    loss, train = FineTuning.loss, Run.train

    def note_batch(self: Any, indices: Any, items: Any) -> Any:
        batches.append(list(indices))
        return loss(self, indices, items)

    def note_start(self: Any) -> Any:
        data = self.tasks["sid"]
        noted["waves"] = [load_waveform(cut) for cut in data.cuts]
        noted["labels"] = [int(data.task.target(cut)) for cut in data.cuts]
        noted["head"] = {n: t.clone() for n, t in self.parts["head"].head.state_dict().items()}
        return train(self)

    FineTuning.loss, Run.train = note_batch, note_start  # type: ignore[method-assign]
    LoopSettings.log_every = 1  # type: ignore[misc]
    out = finetune(
        FinetuneSettings(
            encoder=options.encoder,
            task="sid",
            data=str(options.data),
            steps=options.steps,
            batch_size=options.batch,
            head_size="superb",
            learning_rate=RATE,
            schedule="constant",
            head_warmup=0.0,
            evaluate_every=0,
            save_every=10**6,
            precision=options.precision,
            context=options.context,
            threads=options.threads,
            seed=options.seed,
            log="none",
            out=options.work / f"run-{options.precision}-{options.context}",
        )
    )
    torch.save(noted, options.work / "noted.pt")
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {n: [r[n] for r in records if n in r] for n in ("loss", "seconds")}


class Headed(nn.Module):
    """transformers' encoder with our head, as its Trainer wants a model: it gives the loss."""

    def __init__(self, encoder: str, noted: dict[str, Any]) -> None:
        from transformers import AutoConfig, AutoModel
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        super().__init__()
        config = AutoConfig.from_pretrained(encoder)
        self.whisper = config.model_type == "whisper"
        alone = "WhisperEncoder" in (config.architectures or ())
        model = (WhisperEncoder if alone else AutoModel).from_pretrained(encoder)
        self.encoder = model.encoder if self.whisper and not alone else model
        fixed = ("conv1", "conv2", "embed_positions")  # transformers 5 loads the last one movable
        for name in fixed if self.whisper else ():
            getattr(self.encoder, name).requires_grad_(False)
        if not self.whisper:
            model.feature_extractor._freeze_parameters()  # as `freeze_feature_encoder` does
        self.head = head_of(noted)

    def forward(self, inputs: torch.Tensor, frames: torch.Tensor, labels: torch.Tensor) -> Any:
        states = self.encoder(inputs).last_hidden_state
        logits = self.head(states[:, : int(frames[0])])
        return {"loss": nn.functional.cross_entropy(logits.float(), labels), "logits": logits}


def head_of(noted: dict[str, Any]) -> nn.Module:
    """Give the head that ours began with, of plain modules."""

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            width, inner = noted["head"]["projection.weight"].shape[::-1]
            self.projection = nn.Linear(width, inner)
            self.output = nn.Linear(inner, len(noted["head"]["output.weight"]))

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.output(self.projection(states).mean(dim=1))
            return logits

    head = Head()
    head.load_state_dict(noted["head"])
    return head


def run_transformers(options: argparse.Namespace) -> dict[str, Any]:
    """The plain Trainer on the batches that ours had."""
    from transformers import Trainer, TrainerCallback, TrainingArguments, WhisperFeatureExtractor

    noted = torch.load(options.work / "noted.pt", weights_only=True)
    model = Headed(options.encoder, noted)
    extractor = WhisperFeatureExtractor() if model.whisper else None
    hop = 320

    class Batches(torch.utils.data.Dataset):  # type: ignore[type-arg]
        """Whole batches as items, so that their order is given."""

        def __len__(self) -> int:
            return len(noted["batches"])

        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            chosen = noted["batches"][index]
            waves = [noted["waves"][i] for i in chosen]
            frames = (len(waves[0]) - 400) // hop + 1
            inputs = torch.stack(waves)
            if extractor is not None:
                arrays = [wave.numpy() for wave in waves]
                found = extractor(arrays, sampling_rate=16000, return_tensors="pt")
                inputs, frames = found["input_features"], -(-len(waves[0]) // hop)
            labels = torch.tensor([noted["labels"][i] for i in chosen])
            return {"inputs": inputs, "frames": torch.tensor([frames]), "labels": labels}

    class Plain(Trainer):
        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return torch.utils.data.SequentialSampler(Batches())

    times, losses = [time.perf_counter()], []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

    model.register_forward_hook(lambda _m, _i, out: losses.append(float(out["loss"].detach())))
    arguments = TrainingArguments(
        output_dir=str(options.work / "trainer"),
        max_steps=options.steps,
        per_device_train_batch_size=1,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        bf16=options.precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=options.seed,
    )
    Plain(
        model, arguments, train_dataset=Batches(), data_collator=lambda b: b[0], callbacks=[Clock()]
    ).train()
    return {"loss": losses, "seconds": [after - before for before, after in pairwise(times)]}


SIDES = {"ours": run_ours, "transformers": run_transformers}


def make_encoder(options: argparse.Namespace, work: Path) -> str:
    """Give the encoder without any dropout, and write it for S3PRL, too."""
    from speechft.encoders import build_encoder, load_encoder
    from speechft.encoders.convert import convert
    from speechft.encoders.settings import ConvertSettings

    own = WHISPER_BASE if options.family == "whisper" else STILL | {"layerdrop": 0.0}
    if options.quick and options.family == "whisper":
        own = own | {"d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 2}
    elif options.quick:
        small = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        own = own | small | {"intermediate_size": 128, "conv_dim": [32] * 7}
    if options.encoder:
        encoder = load_encoder(options.encoder)
        for name in (*STILL, "layerdrop", "dropout", "apply_spec_augment"):
            if hasattr(encoder.config, name):
                setattr(encoder.config, name, type(getattr(encoder.config, name))(0))
    else:
        encoder = build_encoder(
            {"model_type": options.family, "apply_spec_augment": False, **own}, 0
        )
    encoder.save(work / "hf")
    if options.family == "hubert":
        to = ConvertSettings(source=str(work / "hf"), target=work / "s3prl.pt", to="s3prl")
        convert(to)
    return str(work / "hf")


def compare(options: argparse.Namespace, table: Path, seed: int, work: Path) -> dict[str, Any]:
    """Run all sides with one seed; give what each measured, by its name."""
    common: list[object] = ["--work", work, "--steps", options.steps, "--threads", options.threads]
    common += ["--seed", seed, "--batch", options.batch]
    here: list[object] = [sys.executable, Path(__file__).absolute(), "--encoder", options.encoder]
    here += ["--data", table, *common]
    whisper = options.family == "whisper"
    sides: dict[str, list[object]] = {}
    for precision in options.precisions:
        said: list[object] = [*here, "--precision", precision]
        if whisper:
            sides[f"speechft {precision}, 30 s"] = [*said, "--side", "ours", "--context", "30s"]
            short = [*said, "--side", "ours", "--context", "utterance"]
            sides[f"speechft {precision}, utterance"] = short
        else:
            sides[f"speechft {precision}"] = [*said, "--side", "ours"]
        sides[f"transformers {precision}"] = [*said, "--side", "transformers"]
    if options.s3prl_python and not whisper:
        script = Path(__file__).parent.absolute() / "finetune_s3prl.py"
        sides["S3PRL no"] = [options.s3prl_python.absolute(), script, *common]
    found = {name: run_side(name, command, work) for name, command in sides.items()}
    first = found[next(iter(sides))]["loss"]
    after = -(-options.utterances // options.batch)
    return {
        name: {
            "seconds_per_update": round(median(side["seconds"][after:]), 4),
            "peak_mib": round(side["peak_mib"]),
            "losses": [round(value, 5) for value in side["loss"]],
            "furthest_from_first": max(
                abs(a - b) for a, b in zip(first, side["loss"], strict=True)
            ),
        }
        for name, side in found.items()
    }


def run_side(name: str, command: list[object], work: Path) -> dict[str, Any]:
    """Run a side in a process of its own; it writes what it measured."""
    file = work / "side.json"
    done = subprocess.run(
        [str(part) for part in [*command, "--out", file]],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-4000:])
    result: dict[str, Any] = json.loads(file.read_text())
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {name}: {median(result['seconds']):.3f} s\n")
    return result


def show(seed: int, sides: dict[str, Any]) -> None:
    head = f"{'s / update':>12}{'peak MiB':>10}{'first loss':>12}{'last':>8}{'apart':>10}\n"
    sys.stdout.write(f"{f'seed {seed}':28}{head}")
    for name, side in sides.items():
        losses, apart = side["losses"], side["furthest_from_first"]
        sys.stdout.write(
            f"{name:28}{side['seconds_per_update']:12.3f}{side['peak_mib']:10}"
            f"{losses[0]:12.4f}{losses[-1]:8.4f}{apart:10.1e}\n"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--s3prl-python", type=Path)
    parser.add_argument("--family", default="hubert", choices=("hubert", "whisper"))
    parser.add_argument("--encoder", help="ENCODER in the place of random weights")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--utterances", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=6.0, help="of every utterance")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--precisions", nargs="+", default=["bf16", "no"])
    parser.add_argument("--quick", action="store_true", help="a small encoder")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--precision", help=argparse.SUPPRESS)
    parser.add_argument("--context", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        torch.set_num_threads(options.threads)
        measured = SIDES[options.side](options)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if torch.cuda.is_available():
            peak = torch.cuda.max_memory_allocated() / 2**20
        options.out.write_text(json.dumps({**measured, "peak_mib": peak}))
        return
    from probe import machine  # here, since it loads what transformers' side does without

    from speechft.core.devices import has_bfloat16

    if "bf16" in options.precisions and not (torch.cuda.is_available() or has_bfloat16()):
        parser.error(
            "this processor only emulates bf16: speechft computes float32 in its place, the others "
            "do not, so there is nothing to compare; give --precisions no"
        )
    named = options.encoder and Path(options.encoder).name
    result: dict[str, Any] = {
        "machine": machine(options.threads),
        "torch": torch.__version__,
        "family": options.family,
        "encoder": named or "random weights",
        "updates": options.steps,
        "batch": options.batch,
        "seconds_per_utterance": options.seconds,
        "seeds": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        options.encoder = make_encoder(options, Path(folder))
        table = make_data(Path(folder), options.utterances, options.seconds)
        for seed in options.seeds:
            work = Path(folder) / f"seed-{seed}"
            work.mkdir()
            result["seeds"][str(seed)] = compare(options, table, seed, work)
            show(seed, result["seeds"][str(seed)])
            if options.out:
                options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

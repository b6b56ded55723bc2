"""docs/how-to/plan-64-gpus.md: a large fine-tuning on paper; its text is in plan.md beside this."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

GB = 1e9
FLAC = 16000  # bytes of a second: half of 16 bits


@dataclass(frozen=True)
class Large:
    """An encoder of the wav2vec 2.0 family by the sizes of its configuration (XLS-R 1B)."""

    width: int = 1280
    layers: int = 48
    inner: int = 5120
    channels: int = 512
    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    span: int = 128
    groups: int = 16

    @property
    def front_end(self) -> int:
        """Parameters of the CNN front end, with biases and layer norms."""
        inputs = (1, *[self.channels] * (len(self.kernels) - 1))
        each = zip(inputs, self.kernels, strict=True)
        return sum(self.channels * (i * k + 3) for i, k in each)

    @property
    def layer(self) -> int:
        """Parameters of one layer: attention, feed-forward, two layer norms."""
        width, inner = self.width, self.inner
        return 4 * (width * width + width) + 2 * width * inner + inner + width + 4 * width

    @property
    def rest(self) -> int:
        """Projection with its norm, mask embedding, positional convolution, last norm."""
        width, channels = self.width, self.channels
        projection = channels * width + width + 2 * channels
        positions = width * (width // self.groups) * self.span + self.span + width
        return projection + width + positions + 2 * width

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.front_end + self.layers * self.layer + self.rest

    @property
    def rate(self) -> float:
        """Frames in a second."""
        return 16000 / prod(self.strides)

    def flops(self, seconds: float, *, again: bool) -> float:
        """Give floating-point operations of training on one utterance, its front end frozen.

        Args:
            seconds: of the utterance.
            again: whether layers are computed again on the way back.
        """
        frames, samples, front = seconds * self.rate, seconds * 16000, 0.0
        inputs = 1
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            samples /= stride
            front += 2 * samples * kernel * inputs * self.channels
            inputs = self.channels
        attention = 4 * frames * frames * self.width
        behind = 2 * frames * self.rest + self.layers * (2 * frames * self.layer + attention)
        return front + behind * (4 if again else 3)

    def activations(self, seconds: float, *, again: bool) -> float:
        """Give bytes of what a pass over a batch keeps for the way back, in bf16.

        Attention is fused. Of a layer stay 34 bytes per frame and dimension (Korthikanti et al.
        2022, section 4.1, without scores), and 4 more as the sum that layers add to is float32;
        where layers are computed again, their input and one layer.
        """
        unit = seconds * self.rate * self.width
        return unit * (4 * self.layers + 38 if again else 38 * self.layers)


LARGE = Large()
GPUS, PER_NODE, HOURS, PASSES, SECONDS, UTTERANCE = 64, 8, 1000, 20, 50, 12.5
PEAKS = {"A100 (312 TFLOP/s in bf16)": 312e12, "H100 (989 TFLOP/s in bf16)": 989e12}
SHARES, LINKS = (0.3, 0.4), (25, 50)  # of the peak; GB/s of each GPU between nodes


def update_flops(*, again: bool) -> float:
    """Give the operations of one GPU in one update."""
    return SECONDS / UTTERANCE * LARGE.flops(UTTERANCE, again=again)


def updates() -> int:
    """Give the updates of the whole run."""
    return round(PASSES * HOURS * 3600 / (GPUS * SECONDS))


def memory(*, pieces: bool, again: bool, bits8: bool = False) -> list[float]:
    """Give GB of one GPU: weights, gradients, moments, copies of weights in bf16, activations.

    Autocast copies every weight that moves; the way back keeps the copies of whole layers, in
    pieces or not. Where layers are computed again, autocast itself has them until the pass is done.
    """
    moving = LARGE.parameters - LARGE.front_end
    layers = LARGE.layers * LARGE.layer
    share = (moving - layers + layers / GPUS) / moving if pieces else 1.0
    gathered = 2 * LARGE.layer if pieces else 0  # one in use, the next one on its way
    weights = 4 * (LARGE.front_end + moving * share + gathered)
    gradients = 4 * (moving * share + gathered / 2)
    moments = (0.51 * 4 if bits8 else 8) * moving * share
    kept = LARGE.activations(SECONDS, again=again)
    return [size / GB for size in (weights, gradients, moments, 2 * moving, kept)]


def plan_page() -> str:
    """Give the page."""
    n, layers = LARGE.parameters, LARGE.layers * LARGE.layer
    moving = n - LARGE.front_end
    once = update_flops(again=False)
    heard = SECONDS * next(iter(PEAKS.values())) * SHARES[0] / once
    values = {
        "hours": f"{HOURS:,}",
        "machines": GPUS // PER_NODE,
        "last": GPUS // PER_NODE - 1,
        "per_node": PER_NODE,
        "gpus": GPUS,
        "passes": PASSES,
        "seconds": SECONDS,
        "mean": UTTERANCE,
        "parameters": f"{n / 1e6:,.0f}",
        "layers": LARGE.layers,
        "layer": f"{LARGE.layer / 1e6:.1f}",
        "rest": f"{LARGE.rest / 1e6:.1f}",
        "front_end": f"{LARGE.front_end / 1e6:.1f}",
        "heard": f"{GPUS * SECONDS:,}",
        "minutes": f"{GPUS * SECONDS / 60:.0f}",
        "of_a_pass": f"{updates() / PASSES:,.0f}",
        "updates": f"{updates():,}",
        "steps": updates(),
        "once": f"{once / 1e12:.0f}",
        "again": f"{update_flops(again=True) / 1e12:.0f}",
        "memory": _memory_rows(),
        "times": _time_rows(once),
        "slow": LINKS[0],
        "fast": LINKS[1],
        "links": _link_rows(),
        "a_second": f"{heard:.0f}",
        "share": f"{SHARES[0]:.0%}",
        "disk": f"{heard * GPUS * FLAC / GB:.1f}",
        "disk_each": f"{heard * FLAC / 1e6:.0f}",
        "flac": FLAC // 1000,
        "copies": f"{PER_NODE * 4 * n / GB:.0f}",
        "between": f"{500 * GPUS * SECONDS / 3600:.0f}",
        "state": f"{(12 * moving + 4 * LARGE.front_end) / GB:.1f}",
        "piece": f"{12 * layers / GPUS / GB:.2f}",
        "encoder": f"{4 * n / GB:.1f}",
        "half": GPUS // 2,
    }
    text = Path(__file__).with_suffix(".md").read_text(encoding="utf-8")
    return text.format(**values)


def _memory_rows() -> str:
    rows = {
        "as it is": memory(pieces=False, again=False),
        "`checkpointing`": memory(pieces=False, again=True),
        "`optimiser=adam-8bit`": memory(pieces=False, again=False, bits8=True),
        "`shard`": memory(pieces=True, again=False),
        "`shard`, `checkpointing`": memory(pieces=True, again=True),
    }
    return "\n".join(
        f"| {name} | {' | '.join(f'{size:.1f}' for size in sizes)} | {sum(sizes):.1f} |"
        for name, sizes in rows.items()
    )


def _time_rows(flops: float) -> str:
    return "\n".join(
        f"| {name} | {share:.0%} | {flops / peak / share:.2f} s | "
        f"{updates() * flops / peak / share / 3600:.1f} h |"
        for name, peak in PEAKS.items()
        for share in SHARES
    )


def _link_rows() -> str:
    """Give what is sent: gradients twice in a ring; of pieces weights twice, gradients once."""
    layers = 4 * LARGE.layers * LARGE.layer / GB
    moving = 4 * (LARGE.parameters - LARGE.front_end) / GB
    sent = {"whole": 2 * moving, "`shard`": 3 * layers + 2 * (moving - layers)}
    return "\n".join(
        f"| {name} | {size:.1f} GB | {' | '.join(f'{size / link:.2f} s' for link in LINKS)} |"
        for name, size in sent.items()
    )

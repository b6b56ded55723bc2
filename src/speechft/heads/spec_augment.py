"""SpecAugment on representations: time warping, feature masks, time masks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

REFERENCE_WIDTH = 768  # of the hidden states that the widths were chosen for


class SpecAugment(nn.Module):
    """SUPERB's augmentation of ASR and SF, in training only.

    Time warping moves a random frame of each utterance by up to five frames; four feature masks
    and two time masks are set to zero. Every draw is from torch's global generator. For hidden
    states of another width than 768, feature masks are scaled by it.

    Args:
        window: frames that the warping moves at most; 0 for none.
        feature_masks: number of them.
        feature_width: widths are below this, at D = 768.
        time_masks: number of them.
        time_width: widths are below this.

    Source:
        Park et al., "SpecAugment", 2019; bounds and order of S3PRL 0.4.
    """

    def __init__(
        self,
        window: int = 5,
        feature_masks: int = 4,
        feature_width: int = 50,
        time_masks: int = 2,
        time_width: int = 40,
    ) -> None:
        super().__init__()
        self.window = window
        self.feature_masks, self.feature_width = feature_masks, feature_width
        self.time_masks, self.time_width = time_masks, time_width

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Give (B, T, D) changed in training, as it is in evaluation; `lengths` (B,) are frames."""
        if not self.training:
            return x
        rows = [self._warp(row, n) for row, n in zip(x, lengths.tolist(), strict=True)]
        x = torch.stack(rows)
        width = max(1, round(self.feature_width * x.shape[2] / REFERENCE_WIDTH))
        hidden = _masks(len(x), self.feature_masks, width, x.shape[2]).to(x.device)
        x = x.masked_fill(hidden[:, None, :], 0.0)
        hidden = _masks(len(x), self.time_masks, self.time_width, x.shape[1]).to(x.device)
        return x.masked_fill(hidden[:, :, None], 0.0)

    def _warp(self, row: Tensor, length: int) -> Tensor:
        """Stretch the frames before a random one and squeeze those after it, or the reverse."""
        w = self.window
        if not w or length <= 2 * w:
            return row
        center = int(torch.randint(w, length - w, ()))
        moved = int(torch.randint(center - w, center + w, ())) + 1
        parts = ((row[:center], moved), (row[center:length], length - moved))
        return torch.cat([*(_resized(part, size) for part, size in parts), row[length:]])


def _resized(frames: Tensor, size: int) -> Tensor:
    """Give `size` frames for (T, D) by bicubic interpolation over time."""
    shape = (size, frames.shape[1])
    image = frames[None, None]
    return functional.interpolate(image, shape, mode="bicubic", align_corners=False)[0, 0]


def _masks(batch: int, masks: int, width: int, total: int) -> Tensor:
    """Draw masks (B, total), true where something is hidden."""
    widths = torch.randint(0, width, (batch, masks, 1))
    starts = torch.randint(0, max(1, total - int(widths.max())), (batch, masks, 1))
    place = torch.arange(total)
    return ((place >= starts) & (place < starts + widths)).any(dim=1)

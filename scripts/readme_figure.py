"""Draw README's figure from the kept study of human voices: docs/images/human.png.

python scripts/readme_figure.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from speechft.core.figure_style import FINETUNED, INK, MERGED, PRETRAINED, STYLE
from speechft.metrics.statistics import SeedValues
from speechft.reporting.figure_files import panels
from speechft.reporting.study.files import read_study

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = {
    "pr per": "Czech phonemes: errors",
    "asr cer": "Czech letters: errors",
    "pr-nl per": "Dutch phonemes: errors",
    "sid acc": "Czech voices: accuracy",
}
GROUPS = {"asr": "tuned on\nCzech text", "sid": "tuned on\nCzech voices"}
KINDS = {"stable": ("fine-tuned (θ′)", FINETUNED), "speechft": ("Speech-FT (θ̂)", MERGED)}


def main() -> None:
    """Write the figure."""
    _, table, _, _ = read_study(ROOT / "results" / "studies" / "human")
    with mpl.rc_context(STYLE):
        figure, axes = panels(len(COLUMNS), 2.6, 2)
        for axis, (column, title) in zip(axes, COLUMNS.items(), strict=True):
            before = _spread(table.spread("theta0", column))
            axis.axhline(before.mean, color=PRETRAINED, linewidth=1.6, linestyle=(0, (4, 3)))
            for place, group in enumerate(GROUPS):
                for side, (kind, (_, colour)) in enumerate(KINDS.items()):
                    spread = _spread(table.spread(f"{group}-{kind}", column))
                    x = place + 0.38 * (side - 0.5)
                    axis.bar(x, spread.mean, width=0.34, color=colour, linewidth=0)
                    if spread.sd is not None:
                        axis.errorbar(x, spread.mean, spread.sd, color=INK, linewidth=1, capsize=3)
                    axis.annotate(
                        f"{spread.mean:.1f}",
                        (x, 0),
                        xytext=(0, 4),
                        textcoords="offset points",
                        ha="center",
                        color="white",
                        fontsize=9,
                    )
            arrow = "↓" if "errors" in title else "↑"
            axis.set_title(f"{title} {arrow}   (pretrained {before.mean:.1f})", fontsize=10)
            axis.set_xticks(range(len(GROUPS)), list(GROUPS.values()))
            axis.set_ylim(0, 104)
            axis.yaxis.grid(True)
            axis.spines["left"].set_visible(False)
        colours = {"pretrained (θ₀)": PRETRAINED, **{name: c for name, c in KINDS.values()}}
        handles = [mpl.patches.Patch(color=c, label=name) for name, c in colours.items()]
        figure.legend(
            handles=handles, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, frameon=False
        )
        place = ROOT / "docs" / "images" / "human.png"
        figure.savefig(place, dpi=140, bbox_inches="tight", metadata={"Software": None})


def _spread(found: SeedValues | None) -> SeedValues:
    if found is None:
        raise SystemExit("the kept study of human voices lacks a row: keep its results first")
    return found


if __name__ == "__main__":
    main()

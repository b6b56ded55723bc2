"""Figures announce nothing that is not there, and many encoders can be told apart in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechft.core.files import write_json, write_jsonl
from speechft.reporting.figures import FEW, draw_all
from speechft.reporting.settings import ReportSettings
from speechft.reporting.stage import comparison_of, report

TASKS = (("er", "acc", "higher"), ("pr", "per", "lower"), ("sid", "acc", "higher"))


def drawn(folder: Path, encoders: int, seeds: int, sweep: bool = True) -> list[tuple[str, str]]:
    """Draw a sweep of alpha from 0 to 1, or encoders of no relation; give captions and SVGs."""
    alphas = [place / (encoders - 1) for place in range(encoders)]
    names = [f"e{place}" for place in range(encoders)]
    about = {"role": "merged", "tuned_on": "sid", "method": "stable", "merge_method": "linear"}
    roles = [{**about, "encoder": n, "alpha": a} for n, a in zip(names, alphas, strict=True)]
    roles[0] = {"encoder": names[0], "role": "pretrained"}
    roles[-1] |= {"role": "finetuned", "merge_method": ""}
    records = [
        {"encoder": name, "task": "er", "metric": "acc", "direction": "higher", "seed": seed}
        | {"value": 60.0 + place + seed}
        for place, name in enumerate(names)
        for seed in range(seeds)
    ]
    folder.mkdir()
    write_jsonl(folder / "results.jsonl", records)
    if sweep:
        write_json(folder / "encoders.json", roles)
    return [(one.caption, one.svg) for one in draw_all(comparison_of((folder,)), (), folder)]


@pytest.mark.parametrize(("seeds", "spread"), [(1, False), (3, True)])
def test_captions_speak_of_a_spread_only_where_there_is_one(tmp_path, seeds, spread):
    (bars, _), (sweep, _) = drawn(tmp_path / "run", 5, seeds)
    assert ("Whiskers" in bars, "Bands" in sweep) == (spread, spread)
    assert ("one seed" in bars) != spread
    assert "do not begin at 0" in sweep


def test_too_few_points_for_a_curve_are_no_figure(tmp_path):
    """A report of θ₀ and two merges, or of `merge --alpha 0:1:0.5` alone, was a traceback."""
    assert len(drawn(tmp_path / "three", 4, 1)) == 1  # of θ₀ this record says no alpha
    found = comparison_of((tmp_path / "three",))
    assert [len(points) for points in found.sweep.values()] == [3]


def test_many_encoders_have_numbers_in_panels_and_legend(tmp_path):
    (_, many), *_ = drawn(tmp_path / "many", FEW + 2, 1, sweep=False)
    (_, few), *_ = drawn(tmp_path / "few", FEW, 1, sweep=False)
    assert f">{FEW + 2}  e{FEW + 1}<" in many
    assert f">e{FEW - 1}<" in few
    assert "rotate(-90" in many
    assert "rotate(-90" not in few


def test_a_figure_of_one_panel_is_not_drawn_out_to_the_width_of_three(tmp_path):
    widths = {}
    for count in (1, 3):
        folder = tmp_path / f"{count}"
        folder.mkdir()
        records = [
            {"encoder": "one", "task": task, "metric": metric, "direction": way, "seed": 0}
            | {"value": 60.0}
            for task, metric, way in TASKS[:count]
        ]
        write_jsonl(folder / "results.jsonl", records)
        (bars,) = draw_all(comparison_of((folder,)), (), folder)
        widths[count] = bars.width
        report(ReportSettings(runs=(folder,), out=folder / "out"))
        page = (folder / "out" / "report.html").read_text()
        assert f'<div style="max-width: {bars.width}pt"><svg' in page
    assert widths[3] == pytest.approx(9.6 * 72, rel=0.05)
    assert widths[1] == pytest.approx(9.6 * 72 / 3**0.5, rel=0.05)

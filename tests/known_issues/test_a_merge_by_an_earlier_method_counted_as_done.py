"""Iso-CTS rounds ranks otherwise since a release, and what it had merged before counted as done."""

from __future__ import annotations

import dataclasses

import pytest

from speechft.analysis.alpha.settings import AlphaSettings, alpha_artifact
from speechft.encoders import build_encoder
from speechft.merging.methods import METHODS
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge
from speechft.probing.settings import source_id


@pytest.mark.parametrize("alpha", ["0.5", "0:1:0.5"])
def test_it_is_done_again_once_the_method_has_changed(tmp_path, tiny_config, alpha, monkeypatch):
    for name, seed in (("base", 0), ("tuned", 1)):
        build_encoder(tiny_config, seed=seed).save(tmp_path / name)
    before = METHODS["iso_cts"]
    assert before.revision == 2

    def merged() -> tuple[int, str]:
        settings = MergeSettings(
            base=str(tmp_path / "base"),
            tuned=(str(tmp_path / "tuned"),),
            method="iso_cts",
            alpha=alpha,
            out=tmp_path / "merged",
        )
        out = merge(settings)
        return (out / "speechft.json").stat().st_mtime_ns, source_id(str(out))

    first, same = merged(), merged()
    assert first == same
    monkeypatch.setitem(METHODS._entries, "iso_cts", dataclasses.replace(before, revision=3))
    again = merged()
    assert again[0] != first[0]
    assert (again[1] != first[1]) is (":" in alpha)  # an encoder is what its weights are


def test_an_alpha_is_chosen_again_once_the_method_has_changed(tmp_path, monkeypatch):
    given = {"base": "tiny-hubert", "tuned": ("tiny-hubert",), "data": "synthetic:tiny"}
    choices = [
        AlphaSettings(**given, out=tmp_path / method, merge={"method": method} if method else {})
        for method in ("iso_cts", "")
    ]
    before = [alpha_artifact(one).id for one in choices]
    assert [alpha_artifact(one).version for one in choices] == [2, 1]
    changed = dataclasses.replace(METHODS["iso_cts"], revision=3)
    monkeypatch.setitem(METHODS._entries, "iso_cts", changed)
    assert [alpha_artifact(one).id == then for one, then in zip(choices, before, strict=True)] == [
        False,
        True,
    ]

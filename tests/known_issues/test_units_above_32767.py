"""Units were kept in 16 bits: of 40,000 clusters, those above 32,767 became negative."""

import numpy as np
import torch

from speechft.training.pretrain.units import load_units, nearest_units, save_units


def test_units_of_many_clusters_stay_what_they_are(tmp_path):
    centres = torch.arange(40_000, dtype=torch.float64)[:, None]
    units = nearest_units(centres[[39_999, 5, 32_768]], centres)
    assert units.tolist() == [39_999, 5, 32_768]
    save_units(tmp_path / "units.npz", [units])
    assert np.array_equal(load_units(tmp_path / "units.npz")[0], units)

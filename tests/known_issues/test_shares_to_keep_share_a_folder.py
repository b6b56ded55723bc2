"""`keep_at` folders had six digits: two shares that differ in the seventh wrote one folder."""

import pytest

from speechft.training.finetune.settings import early_name


@pytest.mark.parametrize(
    ("share", "name"),
    [(0.2, "20"), (0.07, "7"), (0.125, "12.5"), (0.1234567, "12.34567"), (1e-7, "0.00001")],
)
def test_a_share_has_a_name_of_all_its_digits(share, name):
    assert early_name(share) == f"encoder-at-{name}"


def test_two_shares_have_two_names():
    assert early_name(0.12345671) != early_name(0.12345672)

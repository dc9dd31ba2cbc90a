"""What an argument may be."""

import numpy as np
import pytest
import torch

from emt_core.support.checks import per_model


@pytest.mark.parametrize("one", [2, 2.0, np.float32(2), np.array(2), torch.tensor(2.0)], ids=repr)
def test_one_number_of_any_library_is_for_all_models(one):
    assert per_model("lr", one, 3, positive=True) == [2.0] * 3


@pytest.mark.parametrize("make", [list, tuple, iter, np.array, torch.tensor], ids=lambda make: make.__name__)
def test_one_number_per_model_in_whatever_holds_them(make):
    assert per_model("lr", make([1.0, 2.0]), 2, positive=True) == [1.0, 2.0]


def test_another_count_or_size_is_named():
    with pytest.raises(ValueError, match=r"^l2 must be one number or one per seed \(2\), got 3"):
        per_model("l2", iter([1, 2, 3]), 2, positive=False)
    with pytest.raises(ValueError, match=r"^lr must be finite and positive, got 0\.0"):
        per_model("lr", [1.0, 0.0], 2, positive=True)

"""What tests of several rooms do."""

from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent


def assert_equal_weights(one, other, **tolerance):
    """Equal to the bit, or within a tolerance that is named."""
    for a, b in zip(one, other, strict=True):
        if tolerance:
            np.testing.assert_allclose(a, b, **tolerance)
        else:
            np.testing.assert_array_equal(a, b)

"""Each model has a look that is seen on any paper and is told from the others without colours."""

import itertools

import matplotlib.colors
import numpy as np
import pytest

from keras_kd._common.looks import LOOKS, OTHER, known, look_of


def luminance(colour):
    """Return the relative luminance of WCAG 2.2."""
    shares = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one, other):
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("name", LOOKS)
@pytest.mark.parametrize("paper", ["#ffffff", "#16181c"])
def test_a_mark_is_seen_on_light_and_on_dark_paper(name, paper):
    assert contrast(LOOKS[name].colour, paper) >= 3  # WCAG 2.2, 1.4.11.


def test_no_two_models_share_a_colour_a_marker_or_a_line():
    for one, other in itertools.combinations(LOOKS.values(), 2):
        assert all(a != b for a, b in zip(one, other, strict=True))


def test_what_has_no_look_of_its_own_comes_last_and_grey():
    assert known(["a cell", "student", "teacher"]) == ["teacher", "student"]
    assert look_of("a cell") == OTHER

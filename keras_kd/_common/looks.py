"""One look for each model, wherever it is shown: on a terminal, in pictures, on the page.

The colours are those of Okabe and Ito, which the colour-blind tell apart, blue and grey a little
lighter: each stands out on white and on black (contrast at least 3). A marker and a line of its
own say the same without any colour.
"""

import typing


class Look(typing.NamedTuple):
    """How a model is drawn: a colour, a marker of matplotlib's, and the lengths of its dashes."""

    colour: str
    marker: str = "o"
    dashes: tuple[float, ...] = ()

    @property
    def line(self):
        """The style of its line, for matplotlib."""
        return (0, self.dashes)


LOOKS = {
    "teacher": Look("#777777", "s", (6, 2, 1, 2)),
    "student": Look("#0081c8", "o"),
    "student_alone": Look("#d55e00", "D", (4, 2)),
    "label_smoothing": Look("#009e73", "^", (1, 1.5)),
    "soft_targets": Look("#cc79a7", "v", (5, 1, 1, 1, 1, 1)),
    "teacher_labels": Look("#a68a00", "P", (8, 3)),
}
# Of what has no look of its own, such as the other cells of a sweep.
OTHER = Look("#aaaaaa")


def look_of(name):
    """Return the `Look` of a model."""
    return LOOKS.get(name, OTHER)


def known(names):
    """Return those of the names that have a look of their own, in the order of the table."""
    return [name for name in LOOKS if name in names]

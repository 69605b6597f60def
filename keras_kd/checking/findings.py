"""What a check says: what was found, where, what to do, and whether training would be wasted."""

import dataclasses

import numpy as np

from keras_kd.data import Split
from keras_kd.data.minibatches import map_arrays

# Enough to tell a share to 3 points (one standard deviation of a share of one half).
SAMPLE = 256


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or may be.

    Args:
        name: a short fixed name, such as `"input_scale"`.
        what: what was found, with its figures.
        where: in which model, file or split.
        remedy: what to do.
        wasted: whether training would be wasted.
        refusal: whether something cannot be used at all; `what` is the whole sentence then.
    """

    name: str
    what: str
    where: str
    remedy: str
    wasted: bool = False
    refusal: bool = False

    def __str__(self):
        kind = "WASTED" if self.wasted else "note"
        return f"{kind} {self.name}: {self.sentence}"

    @property
    def sentence(self):
        """What was found, where, and what to do."""
        return self.what if self.refusal else f"{self.what} ({self.where}). {self.remedy}"


def refused(where, reason):
    """Return the finding for what cannot be used at all, with the sentence that says why."""
    return Finding(f"{where}_refused", str(reason), where, "", wasted=True, refusal=True)


def sample_of(split, size):
    """Return a `Split` of some examples, evenly spread over the classes and decoded.

    Args:
        split: a `Split`.
        size: how many examples at most.
    """
    order = np.argsort(split.labels, kind="stable")
    chosen = np.linspace(0, len(order) - 1, min(len(order), size)).astype(int)
    some = split.take(np.sort(order[chosen]))
    return Split(map_arrays(np.asarray, some.images), some.labels)


def examples_of(data):
    """Return what people call the examples of a `Data`: images or texts, if they are some."""
    return data.reads if data.reads in ("images", "texts") else "examples"


def percent(share):
    """Return a share as text, such as `93.4 %`."""
    return f"{100 * share:.1f} %"

"""The classes of a place of which no logit is kept: what they have in common at all places.

    logits = level + mean + stretch * (codes @ directions)

The mean and the directions are numbers a class, the same at all places: the mean logits, and the
principal components of what differs from place to place, a class weighed by its mean probability
at T = 2. The rest is a place's own: a code a direction, of a byte or, where directions say less,
of half a byte; and level and stretch, which give these classes together the mass that they have
at T = 1 and at T = 2. What no direction holds would be missing there, and the loss too low.

`benchmarks/files.md` compares it with what is simpler.
"""

import numpy as np

_NUM_BYTES, _NUM_HALVES = 4, 50
NUM_DIRECTIONS = _NUM_BYTES + _NUM_HALVES
NUM_BYTES = _NUM_BYTES + _NUM_HALVES // 2
# What is kept of a place.
FIELDS = ("codes", "stretch", "level")
# Half a byte ends at so many standard deviations, a byte at the largest that was seen.
_DEVIATIONS = 2.5
_STRETCH = (0.5, 2.0)
# Logits looked at to find the directions, and of how many places at least and at most.
_NUM_LOGITS, _FEWEST, _MOST = 40_000_000, 256, 4096
# A class so far below the largest has no part in any loss, and may be at -1e9.
_FAR = 60.0


def num_sampled(num_classes):
    """Return at how many places logits are looked at, to find what they have in common."""
    return int(np.clip(_NUM_LOGITS // num_classes, _FEWEST, _MOST))


class Others:
    """What the logits of an output have in common at all places.

    Args:
        table: float32 `[2 + NUM_DIRECTIONS, num_classes]`: the weights of the classes, the mean
            and the directions, each as long as a step of its code.
    """

    def __init__(self, table):
        self.table = table
        weights, self._mean, self._directions = table[0], table[1], table[2:]
        # The directions are orthogonal under the weights.
        squares = self._directions**2 @ weights
        self._per_square = self._directions.T / np.where(squares > 0, squares, 1)

    @classmethod
    def of(cls, logits):
        """Return what the logits `[n, num_classes]` of some places have in common."""
        logits = _near(logits)
        finite = np.isfinite(logits).all(-1)
        if not finite.all():  # Told when they are kept.
            logits = logits[finite]
        table = np.zeros((2 + NUM_DIRECTIONS, logits.shape[-1]), np.float32)
        if not len(logits):
            return cls(table)
        weights = _Masses(logits).shares_at_2.mean(0)
        weights /= weights.sum()
        logits -= logits @ weights[:, np.newaxis]
        table[0], table[1] = weights, logits.mean(0)
        logits -= table[1]
        scores = _principal(logits * np.sqrt(weights))
        variances = (scores**2).sum(0)
        directions = scores.T @ logits / np.where(variances > 0, variances, 1)[:, np.newaxis]
        steps = _DEVIATIONS / 7.5 * scores.std(0)
        steps[:_NUM_BYTES] = np.abs(scores[:, :_NUM_BYTES]).max(0) / 127
        table[2 : 2 + len(steps)] = steps[:, np.newaxis] * directions
        return cls(table)

    def fields_of(self, logits, classes):
        """Return what to keep of the classes beside some, by the name of the field of a row.

        Args:
            logits: `[n, num_classes]`.
            classes: integers `[n, top_k]`, those that are kept themselves.
        """
        logits = _near(logits)
        codes = (logits - logits @ self.table[0][:, np.newaxis] - self._mean) * self.table[0]
        codes = codes @ self._per_square
        if classes.shape[-1] == logits.shape[-1]:
            nothing = np.zeros((len(logits), 1), np.float32)
            return {"codes": _packed(codes), "stretch": nothing, "level": nothing}
        np.put_along_axis(logits, classes, -np.inf, axis=-1)
        wanted = _Masses(logits)
        # From the nearest logits to those whose means along the directions are right at T = 2:
        # Newton's step, with the curvature of the mean place, where it is `squares / T`.
        found = self._masses(codes @ self._directions, classes)
        codes += 2 * (wanted.shares_at_2 - found.shares_at_2) @ self._per_square
        codes = _packed(codes)
        deviations = _unpacked(codes) @ self._directions
        stretch = np.ones((len(logits), 1), np.float32)
        for _ in range(2):  # Newton's again; the first is nearly there.
            found = self._masses(stretch * deviations, classes)
            error = (2 * found.at_2 - found.at_1) - (2 * wanted.at_2 - wanted.at_1)
            shares = found.shares_at_2 - found.shares_at_1
            slope = np.einsum("nc,nc->n", shares, deviations)[:, np.newaxis]
            stretch -= np.where(np.abs(slope) > 1e-3, error / np.where(slope, slope, 1), 0)
            stretch = np.clip(stretch, *_STRETCH)
        stretch = stretch.astype(np.float16)  # As a row keeps it.
        found = self._masses(stretch.astype(np.float32) * deviations, classes)
        return {"codes": codes, "stretch": stretch, "level": wanted.at_1 - found.at_1}

    def logits(self, fields):
        """Return float32 logits `[n, num_classes]` of what `fields_of` returned.

        Args:
            fields: these fields, by name.
        """
        logits = _unpacked(fields["codes"]) @ self._directions
        logits *= fields["stretch"].astype(np.float32)[:, np.newaxis]
        logits += self._mean
        logits += fields["level"][:, np.newaxis]
        return logits

    def _masses(self, deviations, classes):
        logits = self._mean + deviations
        np.put_along_axis(logits, classes, -np.inf, axis=-1)
        return _Masses(logits)


class _Masses:
    """Logarithms of the mass of logits `[n, num_classes]` at T = 1 and T = 2, and who has it."""

    def __init__(self, logits):
        highest = logits.max(-1, keepdims=True)
        self.shares_at_2 = np.exp((logits - highest) / 2)
        self.shares_at_1 = self.shares_at_2**2
        sums = [each.sum(-1, keepdims=True) for each in (self.shares_at_1, self.shares_at_2)]
        self.at_1, self.at_2 = highest + np.log(sums[0]), highest / 2 + np.log(sums[1])
        self.shares_at_1 /= sums[0]
        self.shares_at_2 /= sums[1]


def _near(logits):
    """Return float32 logits of which none is farther below the largest than counts."""
    logits = logits.astype(np.float32)
    return np.maximum(logits, logits.max(-1, keepdims=True) - _FAR)


def _principal(table):
    """Return the scores `[n, NUM_DIRECTIONS]`, or fewer, of the first principal components.

    References:
        N. Halko, P. Martinsson, J. Tropp, Finding structure with randomness, 2011, algorithm 4.4.
    """
    sides = np.random.default_rng(0).normal(size=(table.shape[1], NUM_DIRECTIONS + 10))
    sides = sides.astype(np.float32)
    for _ in range(4):
        sides, _ = np.linalg.qr(table.T @ (table @ sides))
    left, lengths, _ = np.linalg.svd(table @ sides, full_matrices=False)
    return (left * lengths)[:, :NUM_DIRECTIONS]


def _packed(codes):
    """Return codes `[n, NUM_DIRECTIONS]`, rounded, as bytes and half bytes."""
    codes = np.rint(codes)
    whole = np.clip(codes[:, :_NUM_BYTES], -127, 127).astype(np.int8).view(np.uint8)
    halves = (np.clip(codes[:, _NUM_BYTES:], -8, 7) + 8).astype(np.uint8)
    return np.concatenate([whole, halves[:, ::2] | halves[:, 1::2] << 4], axis=-1)


def _unpacked(codes):
    """Return the codes of bytes and half bytes as float32 `[n, NUM_DIRECTIONS]`."""
    found = np.empty((len(codes), NUM_DIRECTIONS), np.float32)
    found[:, :_NUM_BYTES] = codes[:, :_NUM_BYTES].view(np.int8)
    found[:, _NUM_BYTES::2] = (codes[:, _NUM_BYTES:] & 15).astype(np.float32) - 8
    found[:, _NUM_BYTES + 1 :: 2] = (codes[:, _NUM_BYTES:] >> 4).astype(np.float32) - 8
    return found

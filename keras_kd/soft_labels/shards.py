"""The shards of a finished store: rows found by the index of the example, and their logits."""

import numpy as np

from keras_kd.soft_labels.record import ALONE, Stored, outputs_of
from keras_kd.soft_labels.rows import dense_logits, parts_of, read_others

# Up to so many bytes lie in memory, a view in one piece: rows are found at once.
_SMALL = 2**26


class Shards:
    """Reads rows of a store, memory-mapped if they are many.

    Args:
        folder: of the store, checked.
        record: of the store.
    """

    def __init__(self, folder, record):
        self.folder = folder
        self.outputs = outputs_of(record)
        self.others = read_others(folder, record.get("others", {}))
        views, self.rows_per_piece = record["views"], record["rows_per_shard"]
        self.pieces = [
            np.asarray(np.load(folder / shard["file"], mmap_mode="r")) for shard in record["shards"]
        ]
        self.pieces_a_view = len(self.pieces) // views
        if sum(piece.nbytes for piece in self.pieces) <= _SMALL:
            starts = range(0, len(self.pieces), self.pieces_a_view)
            self.pieces = [
                np.concatenate(self.pieces[start : start + self.pieces_a_view]) for start in starts
            ]
            self.rows_per_piece, self.pieces_a_view = record["num_examples"], 1

    @property
    def by_name(self):
        """What is stored of each output, by its name."""
        return {ALONE: self.outputs} if isinstance(self.outputs, Stored) else self.outputs

    def rows(self, positions, view):
        """Return the rows of the examples at `positions`, `[n]`.

        Raises:
            ValueError: if they are those of others.
        """
        numbers, places = np.divmod(positions, self.rows_per_piece)
        rows = np.empty(len(positions), self.pieces[0].dtype)
        for number in np.unique(numbers):
            chosen = numbers == number
            rows[chosen] = self.pieces[view * self.pieces_a_view + number][places[chosen]]
        if not np.array_equal(rows["index"], positions):
            raise ValueError(f"The rows in {self.folder} are not those of the examples asked for.")
        return rows

    def logits(self, rows):
        """Return float32 logits `[n, ..., num_classes]` of rows, one array an output."""
        parts = parts_of(rows, self.outputs)
        return [
            dense_logits(parts[number], output, self.others.get(str(number)))
            for number, output in enumerate(self.by_name.values())
        ]

"""Write the shards of a store beside its final place, and move it there."""

import concurrent.futures
import json
import shutil

import numpy as np

from keras_kd._common.files import move, remove_leftovers, sha256_of, written_whole
from keras_kd.soft_labels.predict import asking, examples_of, progress_bar
from keras_kd.soft_labels.record import check_same, is_whole, outputs_of, read_unfinished
from keras_kd.soft_labels.rows import keep_logits, parts_of, row_dtype

# Logits in an error.
_NUM_SHOWN = 20


class Writer:
    """Writes one store.

    Args:
        path: its final place.
        made_of: everything its rows depend on, and `rows_per_shard`, as `store.json` says it.
        verbose: show a progress bar.
    """

    def __init__(self, path, made_of, verbose):
        self.path, self.made_of, self.verbose = path, made_of, verbose
        self.outputs = outputs_of(made_of)
        self.unfinished = path.with_name(f".{path.name}.unfinished")
        self.record = self.unfinished / "store.json"

    def write(self, teacher, split, augmentation, batch_size, overwrite):
        """Write all shards that are not there yet, then move the folder to its place.

        Args:
            teacher: a `Teacher`.
            split: the `Split` that it is asked about.
            augmentation: of its images, or `None`.
            batch_size: images that are shown at once.
            overwrite: replace other soft labels, finished or not.
        """
        rows_per_shard = self.made_of["rows_per_shard"]
        done = self._take_up(overwrite)
        shards = [
            (view, start)
            for view in range(self.made_of["views"])
            for start in range(0, len(split), rows_per_shard)
        ]
        ask = asking(teacher, augmentation)
        # One shard is written while the next is computed, and no more than one waits.
        with (
            progress_bar("soft labels", self.verbose) as bar,
            concurrent.futures.ThreadPoolExecutor(1) as writer,
        ):
            total = self.made_of["views"] * len(split)
            task = bar.add_task("", total=total, pace="")
            waiting = None
            for number, (view, start) in enumerate(shards):
                stop = min(start + rows_per_shard, len(split))
                if number < len(done):
                    bar.advance(task, stop - start)
                    continue
                rows = self._rows(ask, split, view, start, stop, batch_size, bar, task)
                if waiting:
                    self._note(done, waiting.result())
                waiting = writer.submit(self._write_shard, number, rows)
            if waiting:
                self._note(done, waiting.result())
        if self.path.exists():
            shutil.rmtree(self.path)  # Others, that are to be replaced: these are whole now.
        move(self.unfinished, self.path)

    def _take_up(self, overwrite):
        """Return the whole shards of an interrupted run of the same."""
        self.unfinished.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.unfinished)
        record = read_unfinished(self.record) or {}
        shards = record.pop("shards", [])
        if record and not overwrite:
            check_same(record, self.made_of, self.path, "unfinished soft labels")
        if record == self.made_of and all(is_whole(self.unfinished, each) for each in shards):
            return shards
        shutil.rmtree(self.unfinished)
        self.unfinished.mkdir()
        return []

    def _rows(self, ask, split, view, start, stop, batch_size, bar, task):
        rows = np.zeros(stop - start, row_dtype(self.outputs))
        rows["index"] = np.arange(start, stop)
        generator = np.random.default_rng([self.made_of["seed"], view, start])
        rows["seed"] = generator.integers(0, 2**31 - 1, (len(rows), 2))
        for first in range(0, len(rows), batch_size):
            some = rows[first : first + batch_size]
            begun = start + first
            images = examples_of(split.images, slice(begun, begun + len(some)))
            self._keep(some, ask(images, some["seed"]))
            bar.advance(task, len(some))
            bar.update(task, pace=f"{bar.tasks[0].speed or 0:,.0f} images/s")
        return rows

    def _keep(self, rows, answers):
        """Write what the teacher answered into rows."""
        alone = not isinstance(answers, dict)
        outputs, answers = (
            ([self.outputs], [answers]) if alone else (self.outputs.values(), answers.values())
        )
        for output, answer, part in zip(
            outputs, answers, parts_of(rows, self.outputs), strict=True
        ):
            answer = np.asarray(answer)
            with np.errstate(over="ignore"):  # Told below.
                keep_logits(part, answer, output)
            finite = np.isfinite(part["logits"]).reshape(len(rows), -1).all(-1)
            if not finite.all():
                worst = int(np.argmin(finite))
                raise _not_finite(answer[worst], output, rows["index"][worst])

    def _write_shard(self, number, rows):
        name = f"rows-{number:05d}.npy"
        with written_whole(self.unfinished / name) as unfinished:
            np.save(unfinished, rows)
        return {"file": name, "sha256": sha256_of(self.unfinished / name)}

    def _note(self, done, shard):
        done.append(shard)
        with written_whole(self.record) as unfinished:
            unfinished.write_text(json.dumps(self.made_of | {"shards": done}, indent=1))


def _not_finite(answer, output, index):
    what = "values" if output.head == "values" else "logits"
    shown = answer.tolist()
    if answer.size > _NUM_SHOWN:
        shown = f"numbers from {answer.min():.3g} to {answer.max():.3g}"
    return ValueError(
        f"The teacher's {what} must be finite as {output.dtype}. Received: {shown} for image "
        f'{index}. Look at the image, or pass dtype="float32" if they are merely large.'
    )

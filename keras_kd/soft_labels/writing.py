"""Write the shards of a store beside its final place, and move it there."""

import concurrent.futures
import json
import math
import shutil

import numpy as np

from keras_kd._common.files import move, remove_leftovers, sha256_of, written_whole
from keras_kd.soft_labels.others import Others, num_sampled
from keras_kd.soft_labels.predict import asking, examples_of, progress_bar
from keras_kd.soft_labels.record import check_same, is_whole, listed, outputs_of, read_unfinished
from keras_kd.soft_labels.rows import keep_logits, parts_of, read_others, row_dtype

# Logits in an error.
_NUM_SHOWN = 20
# Examples to find what their logits have in common.
_FEWEST_ASKED = 256


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
        # By the number of an output with `top_k`: what is common to its places, and the file of it.
        self._others, self._files = {}, {}

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
        ask = asking(teacher, augmentation)
        if not self._others:
            self._find_others(ask, split, batch_size)
        shards = [
            (view, start)
            for view in range(self.made_of["views"])
            for start in range(0, len(split), rows_per_shard)
        ]
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
        shards, others = record.pop("shards", []), record.pop("others", {})
        if record and not overwrite:
            check_same(record, self.made_of, self.path, "unfinished soft labels")
        whole = all(is_whole(self.unfinished, each) for each in [*shards, *others.values()])
        # The former version spread the mass of the others evenly: rows of another form.
        if record == self.made_of and whole and len(others) == len(self._with_others()):
            self._files, self._others = others, read_others(self.unfinished, others)
            return shards
        shutil.rmtree(self.unfinished)
        self.unfinished.mkdir()
        return []

    def _with_others(self):
        """Return the outputs of which not all logits are kept, by their numbers."""
        numbered = enumerate(listed(self.outputs))
        return {str(number): output for number, output in numbered if output.top_k}

    def _find_others(self, ask, split, batch_size):
        """Find what the logits of each such output have in common, from examples all over."""
        wanted = self._with_others()
        if not wanted:
            return
        counts = {name: num_sampled(output.num_classes) for name, output in wanted.items()}
        num_asked = max(
            _FEWEST_ASKED,
            *(counts[name] // math.prod(output.places) for name, output in wanted.items()),
        )
        positions = np.unique(np.linspace(0, len(split) - 1, num_asked).astype(int))
        samples = {name: [] for name in wanted}
        for first in range(0, len(positions), batch_size):
            chosen = positions[first : first + batch_size]
            seeds = np.zeros((len(chosen), 2), np.int32)
            answers = listed(ask(examples_of(split.images, chosen), seeds))
            for name, output in wanted.items():
                places = np.asarray(answers[int(name)]).reshape(len(chosen), -1, output.num_classes)
                step = max(1, places.shape[1] * len(positions) // counts[name])
                samples[name].append(places[:, ::step].reshape(-1, output.num_classes))
        for name in wanted:
            self._others[name] = Others.of(np.concatenate(samples.pop(name)))
            file = f"others-{name}.npy"
            with written_whole(self.unfinished / file) as unfinished:
                np.save(unfinished, self._others[name].table)
            self._files[name] = {"file": file, "sha256": sha256_of(self.unfinished / file)}

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
        outputs, parts = listed(self.outputs), parts_of(rows, self.outputs)
        for number, (output, answer) in enumerate(zip(outputs, listed(answers), strict=True)):
            part, answer = parts[number], np.asarray(answer)
            with np.errstate(over="ignore", invalid="ignore"):  # Told below.
                keep_logits(part, answer, output, self._others.get(str(number)))
            finite = np.isfinite(part["logits"]).reshape(len(rows), -1).all(-1)
            if output.top_k:
                finite &= np.isfinite(part["level"]).reshape(len(rows), -1).all(-1)
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
            others = {"others": self._files} if self._files else {}
            record = self.made_of | {"shards": done} | others
            unfinished.write_text(json.dumps(record, indent=1))


def _not_finite(answer, output, index):
    what = "values" if output.head == "values" else "logits"
    shown = answer.tolist()
    if answer.size > _NUM_SHOWN:
        shown = f"numbers from {answer.min():.3g} to {answer.max():.3g}"
    return ValueError(
        f"The teacher's {what} must be finite as {output.dtype}. Received: {shown} for image "
        f'{index}. Look at the image, or pass dtype="float32" if they are merely large.'
    )

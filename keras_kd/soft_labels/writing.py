"""Write the shards of a store beside its final place, and move it there."""

import concurrent.futures
import contextlib
import json
import math
import operator
import platform
import shutil

import keras
import numpy as np

from keras_kd._common import json_files
from keras_kd._common.backend import versions
from keras_kd._common.files import move, move_new, remove_leftovers, sha256_of, written_whole
from keras_kd._common.model_files import Imported
from keras_kd.soft_labels.others import Others, num_sampled
from keras_kd.soft_labels.places import unfinished_of
from keras_kd.soft_labels.predict import asking, examples_of, progress_bar
from keras_kd.soft_labels.record import (
    SHARD,
    check_same,
    check_versions,
    is_whole,
    listed,
    outputs_of,
    read_unfinished,
)
from keras_kd.soft_labels.rows import keep_logits, parts_of, read_others, row_dtype

# Logits in an error.
_NUM_SHOWN = 20
# Examples to find what their logits have in common.
_FEWEST_ASKED = 256
_ROWS = "rows-*.npy"


class Writer:
    """Writes one store, shard by shard.

    A shard depends on nothing but what the store is made of and on its number: whoever writes it,
    in whatever order, writes the same bytes. It appears whole, its digest before it. So any number
    of writers may be at work in one folder, die, and begin again. Whoever finds all shards there
    finishes the store.

    A row depends on the shards in nothing: the seeds of views are drawn, and the teacher is asked,
    by blocks of rows, whatever part of a block a shard is.

    Args:
        place: its final place, a `Folder`.
        made_of: everything its rows depend on, and `rows_per_shard`, as `store.json` says it.
        verbose: show a progress bar.
        rows_per_block: of a block.
    """

    def __init__(self, place, made_of, verbose, rows_per_block=None):
        self.place, self.made_of, self.verbose = place, made_of, verbose
        self.rows_per_block = rows_per_block
        self.outputs = outputs_of(made_of)
        self._versions = versions()
        # By the number of an output with `top_k`: what is common to its places, and the file of it.
        self._others, self._files = {}, {}

    @property
    def unfinished(self):
        """The folder that is written to."""
        return unfinished_of(self.place.folder)

    @property
    def record(self):
        """The file in it that says what the store is made of."""
        return self.unfinished / "store.json"

    def begin(self, overwrite):
        """Make the folder that shards are written to, or take up what is in it.

        For who is alone at it: what it holds of something else is removed, if that was meant.

        Args:
            overwrite: remove other soft labels that are there.

        Raises:
            ValueError: if it holds shards of something else, or by other versions.
        """
        found = read_unfinished(self.record)
        # The former version kept digests in the record.
        has_shards = found is not None and (found.get("shards") or self.progress()[0])
        if not overwrite and has_shards:
            self._check_same(found)
        if not self._take_up(found):
            shutil.rmtree(self.unfinished, ignore_errors=True)
            self.unfinished.mkdir()
            self.write_record()

    def join(self):
        """The same for one of many at it: nothing is removed. Who comes first says what it is of.

        Raises:
            ValueError: if it is of something else, or by other versions.
        """
        self.unfinished.mkdir(parents=True, exist_ok=True)
        if not self.record.is_file():
            self.write_record(move_new)
        self.go_on()

    def go_on(self):
        """The same where others have begun.

        Raises:
            FileNotFoundError: if nobody has, in the folder that is seen here.
            ValueError: as `join`.
        """
        found = read_unfinished(self.record)
        if found is None:
            raise FileNotFoundError(
                "All machines must see the folder that a store is written in. Received: "
                f"{self.unfinished.absolute()}, where {platform.node()} finds no record of it. "
                "Name a folder that they share."
            )
        self._check_same(found)
        self._take_up(found)

    def _check_same(self, found):
        there = _made_of(found)
        # What tells more comes first: how they are cut follows from it.
        for wanted in (_without_cut(self.made_of), self.made_of):
            check_same(there, wanted, self.place, "unfinished soft labels")
        check_versions(found, self._versions, self.place)

    def _take_up(self, found):
        """Go on with what the record says, if it is of the same and whole; return whether it is."""
        if found is None or _made_of(found) != self.made_of:
            return False
        if found.get("versions", self._versions) != self._versions:
            return False
        others = found.get("others", {})
        whole = all(is_whole(self.unfinished, each) for each in others.values())
        # The former version spread the mass of the others evenly: rows of another form.
        if not whole or len(others) != len(self._with_others()):
            return False
        self._files, self._others = others, read_others(self.unfinished, others)
        for shard in found.get("shards", []):  # The former version kept digests here.
            self._write_digest(shard)
        return True

    def numbers(self):
        """Return the numbers of all shards."""
        return range(self.made_of["views"] * self._shards_a_view())

    def progress(self):
        """Return how many shards are there, by their names, and how many there will be."""
        return sum(1 for _ in self.unfinished.glob(_ROWS)), len(self.numbers())

    def missing(self, numbers):
        """Return those of some shards that are not there, whole, yet.

        Args:
            numbers: of shards.
        """
        done = self._done(numbers)
        return [n for n, shard in done.items() if not (shard and self._is_whole(shard))]

    def write(self, numbers, teacher, split, augmentation, batch_size):
        """Write those of some shards that are missing, and what a reader must know beside them.

        Args:
            numbers: of shards.
            teacher: a `Teacher`.
            split: the `Split` that it is asked about.
            augmentation: of its images, or `None`.
            batch_size: images that are shown at once.
        """
        ask = asking(teacher, augmentation)
        self._prepare(ask, split, batch_size)
        missing = set(self.missing(numbers))
        # One shard is written while the next is computed, and no more than one waits.
        with (
            progress_bar("soft labels", self.verbose) as bar,
            concurrent.futures.ThreadPoolExecutor(1) as writer,
        ):
            task = bar.add_task("", total=sum(map(self._num_rows, numbers)), pace="")
            waiting = None
            for number in numbers:
                if number not in missing:
                    bar.advance(task, self._num_rows(number))
                    continue
                rows = self._rows(ask, split, number, batch_size, bar, task)
                if waiting:
                    waiting.result()
                waiting = writer.submit(self.write_shard, number, rows)
            if waiting:
                waiting.result()

    def launch(self, launcher, *asked):
        """Have all shards written by others, see `launchers`.

        Args:
            launcher: a function `(work, numbers)` that yields each number when it is done.
            *asked: what follows the numbers in `write`.
        """
        teacher, split, augmentation, batch_size = asked
        self._prepare(asking(teacher, augmentation), split, batch_size)
        missing = self.missing(self.numbers())
        total = sum(map(self._num_rows, self.numbers()))
        with progress_bar("soft labels", self.verbose) as bar:
            task = bar.add_task("", total=total, pace="")
            bar.advance(task, total - sum(map(self._num_rows, missing)))
            writer = type(self)(self.place, self.made_of, False, self.rows_per_block)
            for number in launcher(_Work(writer, asked), missing):
                bar.advance(task, self._num_rows(number))
                bar.update(task, pace=f"{bar.tasks[0].speed or 0:,.0f} examples/s")
        self.progress()  # Where a folder is shared, who lists it sees what others wrote.
        elsewhere = [n for n, shard in self._done(missing).items() if shard is None]
        if elsewhere:
            raise FileNotFoundError(
                "All machines must see the folder that a store is written in. Received: "
                f"{self.unfinished.absolute()}, where {len(elsewhere)} of {len(missing)} shards "
                "that others wrote are not seen. Name a folder that they share."
            )

    def finish(self):
        """Move the store to its place, all shards of which are there."""
        done = self._done(self.numbers())
        self.write_record(
            shards=[*done.values()]
        )  # First: who is killed here finds the digests in it.
        for number in self.numbers():
            self._digest_file(number).unlink()
        remove_leftovers(self.unfinished)
        path = self.place.folder
        if path.exists():
            shutil.rmtree(path)  # Others, that are to be replaced: these are whole now.
        move(self.unfinished, path)

    def _prepare(self, ask, split, batch_size):
        """Write what shards and their readers must know beside the record, if nobody did."""
        if len(self._files) < len(self._with_others()):
            self.find_others(ask, split, batch_size)
            self.write_record()

    def _shards_a_view(self):
        return -(-self.made_of["num_examples"] // self.made_of["rows_per_shard"])

    def _place(self, number):
        """Return view, first and last row (excluded) of a shard."""
        rows_per_shard = self.made_of["rows_per_shard"]
        view, part = divmod(number, self._shards_a_view())
        start = part * rows_per_shard
        return view, start, min(start + rows_per_shard, self.made_of["num_examples"])

    def _num_rows(self, number):
        _, start, stop = self._place(number)
        return stop - start

    def _digest_file(self, number):
        return self.unfinished / f"rows-{number:05d}.json"

    def _done(self, numbers):
        """Return what the record says of some shards, `None` of one that is not there."""
        return {number: self._said_of(number) for number in numbers}

    def _is_whole(self, shard):
        """Return whether a shard is what the record says of it."""
        return is_whole(self.unfinished, shard)

    def _said_of(self, number):
        file = self._digest_file(number)
        if not (self.unfinished / f"{file.stem}.npy").is_file():
            return None
        with contextlib.suppress(FileNotFoundError, ValueError):
            found = json_files.parsed(file)
            if json_files.misfit(found, SHARD) is None:
                return found
        return None

    def _with_others(self):
        """Return the outputs of which not all logits are kept, by their numbers."""
        numbered = enumerate(listed(self.outputs))
        return {str(number): output for number, output in numbered if output.top_k}

    def find_others(self, ask, split, batch_size):
        """Find what the logits of each such output have in common, from examples all over."""
        wanted = self._with_others()
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

    def _rows(self, ask, split, number, batch_size, bar, task):
        view, start, stop = self._place(number)
        rows = np.zeros(stop - start, row_dtype(self.outputs))
        rows["index"] = np.arange(start, stop)
        for first, seeds in self._batches(view, start, stop, batch_size):
            last = first + len(seeds)
            # NOTE: Of a batch that lies in two shards both ask about all of it: in another batch
            # an image's logits may differ in the last bit.
            answers = ask(examples_of(split.images, slice(first, last)), seeds)
            some = rows[max(first - start, 0) : last - start]
            own = slice(max(start - first, 0), max(start - first, 0) + len(some))
            some["seed"] = seeds[own]
            self._keep(some, keras.tree.map_structure(operator.itemgetter(own), answers))
            bar.advance(task, len(some))
            bar.update(task, pace=f"{bar.tasks[0].speed or 0:,.0f} examples/s")
        return rows

    def _batches(self, view, start, stop, batch_size):
        """Yield the first row of each batch that some rows lie in, and the seeds of its views."""
        size, count = self.rows_per_block, self.made_of["num_examples"]
        for block in range(start // size * size, stop, size):
            generator = np.random.default_rng([self.made_of["seed"], view, block])
            seeds = generator.integers(0, 2**31 - 1, (min(size, count - block), 2)).astype("int32")
            for first in range(0, len(seeds), batch_size):
                some = seeds[first : first + batch_size]
                if block + first < stop and block + first + len(some) > start:
                    yield block + first, some

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

    def write_shard(self, number, rows):
        """Write a shard, and before it what it is."""
        name = f"rows-{number:05d}.npy"
        with written_whole(self.unfinished / name) as unfinished:
            np.save(unfinished, rows)
            # Before the rows, which are there only with their digest.
            self._write_digest({"file": name, "sha256": sha256_of(unfinished)})

    def _write_digest(self, shard):
        with written_whole((self.unfinished / shard["file"]).with_suffix(".json")) as unfinished:
            unfinished.write_text(json.dumps(shard))

    def write_record(self, move=move, **shards):
        """Write what the store is made of; with its shards, that it is whole."""
        others = {"others": self._files} if self._files else {}
        record = self.made_of | {"versions": self._versions} | shards | others
        with written_whole(self.record, move) as unfinished:
            unfinished.write_text(json.dumps(record, indent=1))


class _Work:
    """Writes a shard by its number, in whatever process it is unpickled in."""

    def __init__(self, writer, asked):
        self.imported = Imported()  # In front of the teacher.
        self.writer, self.asked = writer, asked
        # On which machine the data are what the store is made of.
        self.known_on = platform.node()

    def __call__(self, number):
        self.writer.go_on()
        self._check_data()
        self.writer.write([number], *self.asked)

    def _check_data(self):
        """Refuse a machine that has other files under the same names."""
        here, split = platform.node(), self.asked[1]
        if self.known_on != here and split.is_read_anew:
            # Anew: a digest that is known already goes along.
            found = split.take(slice(None)).digest
            if found != self.writer.made_of["data"]:
                raise ValueError(
                    "All machines must have the same data under the same path. Received: other "
                    f"files on {here} than on {self.known_on}. Share them, or copy them there."
                )
        self.known_on = here


def _without_cut(made_of):
    """Return what a store is made of, without how it is cut into shards."""
    return {name: value for name, value in made_of.items() if name != "rows_per_shard"}


def _made_of(found):
    beside = ("shards", "others", "versions")
    return {name: value for name, value in found.items() if name not in beside}


def _not_finite(answer, output, index):
    what = "values" if output.head == "values" else "logits"
    shown = answer.tolist()
    if answer.size > _NUM_SHOWN:
        shown = f"numbers from {answer.min():.3g} to {answer.max():.3g}"
    return ValueError(
        f"The teacher's {what} must be finite as {output.dtype}. Received: {shown} for image "
        f'{index}. Look at the image, or pass dtype="float32" if they are merely large.'
    )

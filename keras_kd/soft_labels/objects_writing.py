"""Write a store into an object store, beside others who do the same."""

import shutil

from keras_kd._common import json_files
from keras_kd._common.files import move, remove_leftovers, sha256_of
from keras_kd.soft_labels.record import SHARD, is_whole
from keras_kd.soft_labels.rows import read_others
from keras_kd.soft_labels.writing import Writer


class ObjectsWriter(Writer):
    """A `Writer` whose shards, and what is said of each, become objects as soon as they are whole.

    What lies in the folder here is a copy. Whether a shard is there is what its object says.

    Args:
        place: `Objects`.
        made_of: as of a `Writer`.
        verbose: likewise.
        rows_per_block: likewise.
    """

    def begin(self, overwrite):
        if overwrite:
            self.place.clear()
        self.join()

    def join(self):
        if self.place.unfinished() is None:
            self.write_record()
        self.go_on()

    def go_on(self):
        self._pull()
        super().go_on()

    def progress(self):
        return len(self.place.sizes().keys() & self._marks().keys()), len(self.numbers())

    def finish(self):
        done = self._done(self.numbers())
        self.write_record(shards=[*done.values()])
        self.place.write("store.json", self.record.read_bytes())  # From now on it is there.
        self.place.remove(["unfinished.json", *self._marks()])
        for file in self.unfinished.glob("rows-*.json"):
            file.unlink()
        remove_leftovers(self.unfinished)
        shutil.rmtree(self.place.folder, ignore_errors=True)
        move(self.unfinished, self.place.folder)

    def _pull(self):
        """Bring what others began into the folder here."""
        found = self.place.unfinished() or {}
        for file in found.get("others", {}).values():
            if not is_whole(self.unfinished, file):
                self.place.bring(file["file"], self.unfinished)

    def _marks(self):
        """Return the numbers of all shards by the names of the objects that say what each is."""
        return {self._digest_file(number).name: number for number in self.numbers()}

    def _done(self, numbers):
        names = {self._digest_file(number).name: number for number in numbers}
        whole = {
            names[name]: shard
            for name, shard in self.place.read_each(names).items()
            if json_files.misfit(shard, SHARD) is None
        }
        return {number: whole.get(number) for number in numbers}

    def _is_whole(self, shard):
        # Its object appeared whole, before what says so; readers look once more.
        return True

    def write_shard(self, number, rows):
        super().write_shard(number, rows)
        digest = self._digest_file(number)
        self.place.send(digest.with_suffix(".npy"))
        self.place.send(digest)

    def write_record(self, move=move, **shards):
        super().write_record(move, **shards)
        if not shards:  # It is begun, not finished.
            self.place.write("unfinished.json", self.record.read_bytes(), new=not self._files)
            self._pull()  # Who came first said what it is of.

    def find_others(self, ask, split, batch_size):
        super().find_others(ask, split, batch_size)
        for name, file in self._files.items():
            path = self.unfinished / file["file"]
            self.place.write(path.name, path.read_bytes(), new=True)
            self.place.bring(path.name, self.unfinished)  # As who came first wrote it.
            self._files[name] = file | {"sha256": sha256_of(path)}
        self._others = read_others(self.unfinished, self._files)

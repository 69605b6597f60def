"""A store is the same bytes, whoever writes its shards, in whatever order, and whoever dies."""

import errno
import os
import pickle
import platform
import random
import shutil
import signal
import time

import keras
import numpy as np
import pytest
import warm

import keras_kd as kd
from keras_kd import cli
from keras_kd.launchers import processes
from keras_kd.soft_labels import making, places, shards, writing

pytestmark = pytest.mark.usefixtures("improved_graphs")

SHAPE = {"image_shape": (4, 4, 1), "num_classes": 3}
IMAGES = np.random.default_rng(0).uniform(0, 255, (400, 4, 4, 1)).astype("uint8")
OPTIONS = {"views": 2, "augmentation": kd.data.RandomShift(1)}


@pytest.fixture(scope="module")
def teacher():
    keras.utils.set_random_seed(0)
    return kd.models.mlp([8], **SHAPE)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(making, "_ROWS_PER_BLOCK", 64)  # 2 views of 7 shards, a block each.


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(teacher, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "labels"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "_ROWS_PER_BLOCK", 64)
        kd.SoftLabels.create(path, teacher, IMAGES, verbose=False, **OPTIONS)
    return content(path)


def part(path, teacher, number, count, **options):
    options = {**OPTIONS, "verbose": False, **options}
    return kd.SoftLabels.create_part(path, teacher, IMAGES, (number, count), **options)


class TestParts:
    def test_the_last_one_finishes_the_same_store_in_any_order(self, teacher, tmp_path, whole):
        path = tmp_path / "labels"
        finished = [part(path, teacher, number, 4) for number in (3, 1, 4, 3, 2)]
        assert finished == [False] * 4 + [True]
        assert content(path) == whole and [*tmp_path.iterdir()] == [path]
        assert part(path, teacher, 2, 4)

    def test_more_parts_than_shards(self, teacher, tmp_path, whole):
        finished = [part(tmp_path / "labels", teacher, number, 20) for number in range(1, 21)]
        assert finished[-1] and content(tmp_path / "labels") == whole

    def test_what_a_part_left_undone_or_damaged_is_done_again(self, teacher, tmp_path, whole):
        path = tmp_path / "labels"
        part(path, teacher, 1, 2)
        unfinished = tmp_path / ".labels.unfinished"
        (unfinished / "rows-00002.npy").unlink()
        rows = unfinished / "rows-00003.npy"
        rows.write_bytes(rows.read_bytes()[:-1])
        (unfinished / "rows-00004.json").write_text("{")
        assert not part(path, teacher, 2, 2)
        assert part(path, teacher, 1, 2) and content(path) == whole

    def test_the_last_one_does_again_what_was_damaged_in_another_s_part(
        self, teacher, tmp_path, whole
    ):
        path = tmp_path / "labels"
        part(path, teacher, 1, 2)
        rows = tmp_path / ".labels.unfinished" / "rows-00003.npy"
        rows.write_bytes(rows.read_bytes()[:-1])
        assert part(path, teacher, 2, 2) and content(path) == whole

    def test_one_who_comes_when_all_is_done_leaves_nothing_behind(
        self, teacher, tmp_path, whole, monkeypatch
    ):
        path = tmp_path / "labels"
        join = writing.Writer.join

        def late(self):
            monkeypatch.undo()  # Others finish between the first look and the first shard.
            monkeypatch.setattr(making, "_ROWS_PER_BLOCK", 64)
            kd.SoftLabels.create(path, teacher, IMAGES, verbose=False, **OPTIONS)
            join(self)

        monkeypatch.setattr(writing.Writer, "join", late)
        assert part(path, teacher, 1, 4)
        assert content(path) == whole and [*tmp_path.iterdir()] == [path]

    def test_one_process_goes_on_with_what_parts_began(self, teacher, tmp_path, whole, monkeypatch):
        path = tmp_path / "labels"
        part(path, teacher, 2, 2)
        written = []
        write = writing.Writer.write_shard
        monkeypatch.setattr(
            writing.Writer,
            "write_shard",
            lambda self, number, rows: written.append(number) or write(self, number, rows),
        )
        kd.SoftLabels.create(path, teacher, IMAGES, verbose=False, **OPTIONS)
        assert written == [*range(7)] and content(path) == whole

    def test_parts_of_something_else_are_refused_and_touch_nothing(self, teacher, tmp_path):
        path = tmp_path / "labels"
        part(path, teacher, 1, 2)
        before = content(tmp_path / ".labels.unfinished")
        other = kd.models.mlp([9], **SHAPE)
        for given, options, sentence in (
            (other, {}, "another teacher"),
            (teacher, {"seed": 1}, r"another seed \(seed: 0 there, 1 now\)"),
            (teacher, {"views": 1}, "another views"),
        ):
            with pytest.raises(ValueError, match=f"unfinished soft labels .*{sentence}"):
                part(path, given, 2, 2, **options)
        assert content(tmp_path / ".labels.unfinished") == before

    @pytest.mark.parametrize("number", [3, "3/16", (1, 2, 3), None])
    def test_a_part_is_a_number_of_how_many(self, teacher, tmp_path, number):
        with pytest.raises(ValueError, match=r"such as \(3, 16\). Received: "):
            kd.SoftLabels.create_part(tmp_path / "labels", teacher, IMAGES, number)

    def test_parts_by_another_version_are_refused(self, teacher, tmp_path, whole, monkeypatch):
        path = tmp_path / "labels"
        part(path, teacher, 1, 2)
        before = content(tmp_path / ".labels.unfinished")
        with monkeypatch.context() as patch:
            here = writing.versions() | {"keras": "3.99"}
            patch.setattr(writing, "versions", lambda: here)
            with pytest.raises(ValueError, match=r"versions \(keras: \S+ there, 3\.99 now\)"):
                part(path, teacher, 2, 2)
            with pytest.raises(ValueError, match="by other versions"):
                kd.SoftLabels.create(path, teacher, IMAGES, verbose=False, **OPTIONS)
        assert content(tmp_path / ".labels.unfinished") == before
        assert part(path, teacher, 2, 2) and content(path) == whole

    def test_two_that_begin_at_once_make_one_store(self, teacher, tmp_path, whole, monkeypatch):
        """Whoever says first what is made there, the other is refused, or goes on with it."""
        path, move = tmp_path / "labels", writing.move_new

        def late(given):
            def first_the_other(unfinished, place):
                monkeypatch.setattr(writing, "move_new", move)
                part(path, teacher, 1, 2)
                move(unfinished, place)

            monkeypatch.setattr(writing, "move_new", first_the_other)
            return part(path, given, 2, 2)

        with pytest.raises(ValueError, match="unfinished soft labels .*another teacher"):
            late(kd.models.mlp([9], **SHAPE))
        shutil.rmtree(tmp_path / ".labels.unfinished")
        assert late(teacher) and content(path) == whole

    def test_clocks_apart_change_nothing(self, teacher, tmp_path, whole):
        path = tmp_path / "labels"
        part(path, teacher, 1, 2)
        for day, file in enumerate((tmp_path / ".labels.unfinished").iterdir()):
            seconds = time.time() + 86400 * (day - 5)
            os.utime(file, (seconds, seconds))
        assert part(path, teacher, 2, 2) and content(path) == whole

    def test_a_full_folder_is_told_and_gone_on_with(self, teacher, tmp_path, whole, monkeypatch):
        path = tmp_path / "labels"
        with monkeypatch.context() as patch:
            full = OSError(errno.ENOSPC, "No space left on device")
            save = np.save

            def saved(file, rows):
                if "00002" in file.name:
                    raise full
                save(file, rows)

            patch.setattr(np, "save", saved)
            with pytest.raises(OSError, match="No space left"):
                part(path, teacher, 1, 2)
        assert not [*(tmp_path / ".labels.unfinished").glob("*00002*")]
        assert not part(path, teacher, 1, 2)
        assert part(path, teacher, 2, 2) and content(path) == whole

    @pytest.mark.parametrize("given", [(0, 2), (3, 2), (1, 0)])
    def test_a_part_is_one_of_them(self, teacher, tmp_path, given):
        with pytest.raises(ValueError, match="part"):
            part(tmp_path / "labels", teacher, *given)
        assert not [*tmp_path.iterdir()]


def test_what_the_former_version_left_unfinished_is_gone_on_with(teacher, tmp_path, whole):
    """It kept the digests of the shards in the record alone."""
    path = tmp_path / "labels"
    part(path, teacher, 1, 2)
    writer = making.writer_for(
        places.place_of(path), making.asked_of(teacher, IMAGES, **OPTIONS)[0], False
    )
    done = [*writer._done(range(7)).values()]
    writer.write_record(shards=done)
    for file in (tmp_path / ".labels.unfinished").glob("rows-*.json"):
        file.unlink()
    kd.SoftLabels.create(path, teacher, IMAGES, verbose=False, **OPTIONS)
    assert content(path) == whole


def rows_of(folder):
    return np.concatenate([np.load(path) for path in sorted(folder.glob("rows-*.npy"))])


class TestShards:
    @pytest.mark.parametrize("size", [16, 24])
    def test_rows_are_those_of_blocks_however_they_are_cut(
        self, teacher, tmp_path, monkeypatch, size
    ):
        options = {**OPTIONS, "batch_size": 10, "verbose": False}
        kd.SoftLabels.create(tmp_path / "blocks", teacher, IMAGES, **options)
        monkeypatch.setattr(making, "_ROWS_PER_SHARD", size)
        monkeypatch.setattr(shards, "_SMALL", 0)
        shift = OPTIONS["augmentation"]
        cut = kd.SoftLabels.create(tmp_path / "cut", teacher, IMAGES, **options)
        assert len([*cut.path.glob("rows-*")]) == 2 * -(-400 // size)
        rows = rows_of(tmp_path / "blocks")
        np.testing.assert_array_equal(rows_of(cut.path), rows)
        # The former version drew them so, and kept a block in a file.
        drawn = np.random.default_rng([0, 1, 128]).integers(0, 2**31 - 1, (64, 2))
        np.testing.assert_array_equal(rows["seed"][400 + 128 : 400 + 192], drawn)
        # Found in the files, or in memory.
        chosen = np.random.default_rng(0).integers(0, 400, 99)
        monkeypatch.undo()
        held = kd.SoftLabels(cut.path, augmentation=shift)
        assert len(held._shards.pieces) == 2 < len(cut._shards.pieces)
        np.testing.assert_array_equal(cut._shards.rows(chosen, 1), held._shards.rows(chosen, 1))
        np.testing.assert_array_equal(cut._shards.rows(chosen, 1), rows[400 + chosen])

    def test_what_was_begun_is_gone_on_with_as_it_is_cut(
        self, teacher, tmp_path, whole, monkeypatch
    ):
        path = tmp_path / "labels"
        part(path, teacher, 1, 2)
        monkeypatch.setattr(making, "_ROWS_PER_SHARD", 16)
        assert part(path, teacher, 2, 2) and content(path) == whole

    def test_what_says_no_cut_is_begun_anew(self, teacher, tmp_path, whole):
        path = tmp_path / "labels"
        part(path, teacher, 1, 2)
        record = tmp_path / ".labels.unfinished" / "store.json"
        record.write_text(record.read_text().replace('"rows_per_shard": 64', '"rows_per_shard": 0'))
        kd.SoftLabels.create(path, teacher, IMAGES, verbose=False, **OPTIONS)
        assert content(path) == whole

    def test_there_are_many_of_many_images_and_few_of_few(self, monkeypatch):
        monkeypatch.undo()
        made_of = {"head": "logits", "num_classes": 10, "places": [], "dtype": "float16"}
        made_of |= {"top_k": None}

        def cut(count, views=1):
            writer = making.writer_for(
                places.Folder("nowhere"), {**made_of, "views": views, "num_examples": count}, False
            )
            return writer.made_of["rows_per_shard"], len(writer.numbers())

        assert cut(1000) == (1024, 1)
        assert cut(54_000) == (1024, 53)
        assert cut(54_000, views=100) == (16_384, 400)
        assert cut(1_281_167) == (4096, 313)
        assert cut(10**8) == (65_536, 1526)


class Killing:
    """A launcher that has several processes at it, and kills one of them now and then."""

    def __init__(self, num_kills):
        self.num_kills, self.killed = num_kills, 0

    def __call__(self, work, numbers):
        generator, begun = random.Random(0), []
        started = kd.launchers.processes._Worker.__init__

        def noted(worker):
            started(worker)
            begun.append(worker.process)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kd.launchers.processes._Worker, "__init__", noted)
            for number in kd.launchers.Processes(2)(work, numbers):
                alive = [each for each in begun if each.is_alive()]
                if self.killed < self.num_kills:
                    os.kill(generator.choice(alive).pid, signal.SIGKILL)
                    self.killed += 1
                yield number


def test_others_must_see_the_folder_and_the_same_files(teacher, tmp_path, monkeypatch):
    path, file = tmp_path / "labels", tmp_path / "images.npy"
    np.save(file, IMAGES)

    def launcher(act):
        def launched(work, numbers):
            act(work)
            yield from numbers

        return launched

    def make(act):
        with pytest.raises((OSError, ValueError)) as caught:
            kd.SoftLabels.create(
                path, teacher, np.load(file, mmap_mode="r"), launcher=launcher(act), verbose=False
            )
        return str(caught.value)

    def elsewhere(work):
        monkeypatch.setattr(platform, "node", lambda: "far")
        pickle.loads(pickle.dumps(work))(0)

    assert "7 of 7 shards that others wrote are not seen" in make(lambda work: None)
    assert "where far finds no record" in make(
        lambda work: (shutil.rmtree(tmp_path / ".labels.unfinished"), elsewhere(work))
    )
    monkeypatch.undo()
    monkeypatch.setattr(making, "_ROWS_PER_SHARD", 64)
    assert "other files on far than on" in make(
        lambda work: (np.save(file, IMAGES[::-1]), elsewhere(work))
    )


@pytest.mark.slow
def test_processes_that_are_killed_leave_the_store_of_one(teacher, tmp_path, whole, monkeypatch):
    monkeypatch.setattr(kd.launchers.processes, "_context", warm._context)
    path, launcher = tmp_path / "labels", Killing(int(os.environ.get("KERAS_KD_KILLED_RUNS", 2)))
    kd.SoftLabels.create(path, teacher, IMAGES, verbose=False, launcher=launcher, **OPTIONS)
    assert launcher.killed and content(path) == whole


OWN_LAYERS = """
import keras

@keras.saving.register_keras_serializable()
class Doubled(keras.layers.Layer):
    def __init__(self, units, **options):
        super().__init__(**options)
        self.units, self.dense = units, keras.layers.Dense(units)
    def build(self, shape):
        self.dense.build((None, 16))
    def call(self, inputs):
        return 2 * self.dense(keras.ops.reshape(inputs, (-1, 16)))
    def compute_output_shape(self, shape):
        return (shape[0], self.units)
    def get_config(self):
        return {**super().get_config(), "units": self.units}
"""


class TestCommand:
    @pytest.fixture
    def place(self, teacher, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        teacher.save("t.keras")
        np.savez("d.npz", x_train=IMAGES, y_train=np.arange(400) % 3, x_test=IMAGES[:9],
                 y_test=np.arange(9) % 3)  # fmt: skip
        return tmp_path

    def told(self, capsys, *words):
        code = cli.main(["soft-labels", *words])
        out, error = capsys.readouterr()
        return code, (out or error).splitlines()[-1]

    def test_parts_are_told_how_far_they_are_and_the_store_serves(self, place, capsys):
        asked = ["--teacher", "t.keras", "--data", "d.npz", "--output", "labels", "--quiet"]
        assert cli.main(["soft-labels", *asked, "--shard", "2/2"]) == 0
        assert capsys.readouterr().out == ""
        assert self.told(capsys, "status", "labels") == (0, "labels: 3 of 6 shards are written")
        assert cli.main(["soft-labels", *asked, "--shard", "1/2"]) == 0
        code, sentence = self.told(capsys, "status", "labels")
        assert code == 0 and sentence.startswith("labels: finished, 361 examples, 0.0 MB in shards")
        student = kd.models.mlp([4], **SHAPE)
        distiller = kd.Distiller(student=student, soft_labels="labels").compile()
        distiller.fit(kd.data.read("d.npz", seed=0).train.batches(64), verbose=0)

    def test_processes_have_the_layers_that_a_module_registers(self, place, capsys, monkeypatch):
        monkeypatch.setattr("keras_kd._common.model_files._imported", [])
        monkeypatch.setattr(processes, "_context", warm._context)
        (place / "own_layers.py").write_text(OWN_LAYERS)
        monkeypatch.syspath_prepend(place)
        import own_layers

        keras.Sequential([keras.Input((4, 4, 1)), own_layers.Doubled(3)]).save("own.keras")
        asked = ["--teacher", "own.keras", "--data", "d.npz", "--output", "labels", "--quiet"]
        code = cli.main(
            ["soft-labels", *asked, "--import", "own_layers", "--head", "logits", "--workers", "2"]
        )
        assert code == 0, capsys.readouterr().err
        assert len([*(place / "labels").glob("rows-*.npy")]) == 6

    def test_interrupted_it_says_how_it_goes_on(self, place, capsys, monkeypatch):
        def interrupt(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(writing.Writer, "write_shard", interrupt)
            asked = ["--teacher", "t.keras", "--data", "d.npz", "--output", "labels", "--quiet"]
            assert cli.main(["soft-labels", *asked]) == 130
        assert capsys.readouterr().err.endswith(
            "interrupted. Nothing half-written was left. The same command goes on after the last "
            "whole shard.\n"
        )
        assert cli.main(["soft-labels", *asked]) == 0

    @pytest.mark.parametrize(
        ("words", "code", "sentence"),
        [
            ("--teacher t.keras", 2, "no --data and no --output"),
            ("--teacher t.keras --data d.npz --output labels --shard 3/2", 2, "shard=3/2"),
            ("--teacher t.keras --data d.npz --output labels --shard x", 2, "invalid part value"),
            (
                "--teacher t.keras --data d.npz --output labels --shard 1/2 --workers 2", 2,
                "--shard beside --workers",
            ),
            (
                "--teacher t.keras --data d.npz --output labels --shard 1/2 --overwrite", 2,
                "--shard beside --overwrite",
            ),
            (
                "--teacher t.keras --data d.npz --output labels --shard 1/2 --ray auto", 2,
                "--shard beside --ray",
            ),
            ("status", 2, "Received: status"),
            ("status nowhere", 1, "no soft labels at nowhere"),
            ("--teacher nothing.keras --data d.npz --output labels", 2, "nothing.keras"),
        ],
    )  # fmt: skip
    def test_bad_input_is_one_sentence(self, place, capsys, words, code, sentence):
        before = {path.name for path in place.iterdir()}
        try:
            found = cli.main(["soft-labels", *words.split()])
        except SystemExit as end:
            found = end.code
        said = capsys.readouterr().err
        assert found == code and sentence in said and said.count("\n") == 1
        assert {path.name for path in place.iterdir()} == before

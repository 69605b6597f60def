"""Stores in an object store: the same bytes as in a folder, whoever writes and whoever dies."""

import json
import os
import pickle
import sys

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd import cli
from keras_kd.soft_labels import making, objects_writing, places

pytestmark = pytest.mark.usefixtures("improved_graphs")

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")

SHAPE = {"image_shape": (4, 4, 1), "num_classes": 3}
IMAGES = np.random.default_rng(0).uniform(0, 255, (400, 4, 4, 1)).astype("uint8")
OPTIONS = {"views": 2, "augmentation": kd.data.RandomShift(1), "verbose": False}


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    monkeypatch.setattr(making, "_ROWS_PER_BLOCK", 64)  # 2 views of 7 shards.
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def teacher():
    keras.utils.set_random_seed(0)
    return kd.models.mlp([8], **SHAPE)


@pytest.fixture
def whole(teacher, tmp_path):
    kd.SoftLabels.create(tmp_path / "whole", teacher, IMAGES, **OPTIONS)
    return {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}


@pytest.fixture(scope="module")
def s3():
    """A server that speaks S3, with a bucket."""
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        fsspec.filesystem("s3").mkdir("bucket")
        yield "s3://bucket"
    fsspec.filesystem("s3").clear_instance_cache()
    server.stop()


@pytest.fixture(params=["memory", "s3"])
def url(request, tmp_path):
    """A place that nobody has used."""
    base = "memory:/" if request.param == "memory" else request.getfixturevalue("s3")
    return f"{base}/{tmp_path.name}/labels"


def content(url):
    files, root = fsspec.core.url_to_fs(url)
    files.invalidate_cache()
    return {path.rpartition("/")[2]: files.cat_file(path) for path in files.ls(root, detail=False)}


def forget(monkeypatch, tmp_path, name):
    """Be another machine, which has no copies."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / name))


def part(url, teacher, number, count, **options):
    return kd.SoftLabels.create_part(url, teacher, IMAGES, (number, count), **(OPTIONS | options))


class TestWriting:
    def test_the_same_bytes_as_in_a_folder_and_the_same_rows_elsewhere(
        self, url, teacher, whole, tmp_path, monkeypatch
    ):
        made = kd.SoftLabels.create(url, teacher, IMAGES, **OPTIONS)
        assert content(url) == whole
        assert kd.SoftLabels.status(url).startswith(f"{url}: finished, 400 examples, 2 views each")
        forget(monkeypatch, tmp_path, "elsewhere")
        shift = OPTIONS["augmentation"]
        read = kd.SoftLabels(url, augmentation=shift)
        assert read.path != made.path and read.verify(20, teacher, IMAGES) < 1e-2
        folder = kd.SoftLabels(tmp_path / "whole", augmentation=shift)
        of_both = [next(iter(each.join((IMAGES, None), 32))) for each in (read, folder)]
        keras.tree.map_structure(np.testing.assert_array_equal, *of_both)

    def test_parts_by_machines_that_share_nothing_else(
        self, url, teacher, whole, tmp_path, monkeypatch
    ):
        finished = []
        for number in (3, 1, 4, 3, 2):
            forget(monkeypatch, tmp_path, f"machine{number}")
            finished.append(part(url, teacher, number, 4))
            if not finished[-1]:
                assert f"{url}: " in kd.SoftLabels.status(url)
        assert finished == [False] * 4 + [True] and content(url) == whole
        assert part(url, teacher, 2, 4)

    def test_what_is_killed_goes_on_after_the_last_whole_shard(
        self, teacher, whole, tmp_path, monkeypatch
    ):
        url, written, send = "memory://killed/labels", [], places.Objects.send

        def dying(self, path):
            if len(written) == 9:
                raise KeyboardInterrupt
            written.append(path.name)
            send(self, path)

        monkeypatch.setattr(places.Objects, "send", dying)
        with pytest.raises(KeyboardInterrupt):
            kd.SoftLabels.create(url, teacher, IMAGES, **OPTIONS)
        monkeypatch.setattr(places.Objects, "send", send)
        assert kd.SoftLabels.status(url) == f"{url}: 4 of 14 shards are written"
        with pytest.raises(FileNotFoundError, match="There are no soft labels at memory://killed"):
            kd.SoftLabels(url)
        forget(monkeypatch, tmp_path, "elsewhere")
        wrote, write = [], objects_writing.ObjectsWriter.write_shard
        monkeypatch.setattr(
            objects_writing.ObjectsWriter,
            "write_shard",
            lambda self, number, rows: wrote.append(number) or write(self, number, rows),
        )
        kd.SoftLabels.create(url, teacher, IMAGES, **OPTIONS)
        assert wrote == [*range(4, 14)] and content(url) == whole

    def test_what_all_shards_need_is_what_the_first_wrote(self, teacher, tmp_path, monkeypatch):
        url, options = "memory://others/labels", {"top_k": 1}
        kd.SoftLabels.create(tmp_path / "folder", teacher, IMAGES, **(OPTIONS | options))
        part(url, teacher, 1, 2, **options)
        forget(monkeypatch, tmp_path, "elsewhere")
        find = objects_writing.Writer.find_others

        def other_bits(self, *arguments):
            find(self, *arguments)
            table = self._others["0"].table + np.float32(1e-3)
            np.save(self.unfinished / "others-0.npy", table)

        monkeypatch.setattr(objects_writing.Writer, "find_others", other_bits)
        assert part(url, teacher, 2, 2, **options)
        folder = {path.name: path.read_bytes() for path in (tmp_path / "folder").iterdir()}
        assert content(url) == folder

    def test_workers_elsewhere_share_it(self, s3, teacher, whole, tmp_path, monkeypatch):
        url = f"{s3}/workers/labels"

        def by_two_machines(work, numbers):
            for number in numbers:
                with pytest.MonkeyPatch.context() as patch:
                    forget(patch, tmp_path, f"machine{number % 2}")
                    pickle.loads(pickle.dumps(work))(number)
                yield number

        kd.SoftLabels.create(url, teacher, IMAGES, launcher=by_two_machines, **OPTIONS)
        assert content(url) == whole

    def test_it_is_replaced_on_demand_alone(self, teacher):
        url = "memory://replaced/labels"
        kd.SoftLabels.create(url, teacher, IMAGES, **OPTIONS)
        before = content(url)
        with pytest.raises(ValueError, match=f"The soft labels at {url} are of another seed"):
            kd.SoftLabels.create(url, teacher, IMAGES, seed=1, **OPTIONS)
        assert content(url) == before
        kd.SoftLabels.create(url, teacher, IMAGES, seed=1, overwrite=True, **OPTIONS)
        assert json.loads(content(url)["store.json"])["seed"] == 1

    def test_unfinished_ones_of_something_else_are_refused(self, teacher, tmp_path, monkeypatch):
        url = "memory://mixed/labels"
        part(url, teacher, 1, 2)
        before = content(url)
        forget(monkeypatch, tmp_path, "elsewhere")
        with pytest.raises(ValueError, match=f"unfinished soft labels at {url} are of another"):
            part(url, teacher, 2, 2, seed=1)
        assert content(url) == before

    def test_logits_and_fit(self, teacher):
        logits = np.random.default_rng(1).normal(size=(400, 3)).astype("float32")
        url = "memory://logits/labels"
        kd.SoftLabels.from_logits(url, logits, IMAGES)
        distiller = kd.Distiller(student=kd.models.mlp([4], **SHAPE), soft_labels=url).compile()
        split = kd.data.Split(IMAGES, np.zeros(400, "int32"))
        with pytest.raises(ValueError, match="are of another data"):
            distiller.fit(split.batches(100), verbose=0)
        kd.SoftLabels.from_logits(url, logits, split, overwrite=True)
        distiller.fit(split.batches(100), verbose=0)

    def test_the_command_writes_there_and_trains_from_there(
        self, s3, teacher, tmp_path, capsys, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        teacher.save("t.keras")
        labels = np.arange(400) % 3
        arrays = {"train_images": IMAGES, "test_images": IMAGES[:40] // 2}
        np.savez("d.npz", **arrays, train_labels=labels, test_labels=labels[:40])
        url, about = f"{s3}/command/labels", ["--data", "d.npz", "--quiet"]
        assert cli.main(["soft-labels", "status", url]) == 1
        assert f"There are no soft labels at {url}" in capsys.readouterr().err
        asked = ["soft-labels", "--teacher", "t.keras", "--head", "logits", *about]
        assert cli.main([*asked, "--output", url]) == 0, capsys.readouterr().err
        assert cli.main(["soft-labels", "status", url]) == 0
        assert f"{url}: finished" in capsys.readouterr().out
        training = ["--student", "mlp:4", "--epochs", "1", "--formats", "dynamic", "--no-check"]
        command = ["distill", "--soft-labels", url, *about, *training, "--output", "out"]
        assert cli.main(command) in (0, 1), capsys.readouterr().err
        assert (tmp_path / "out" / "results.json").is_file()
        assert cli.main([*command[:-1], f"{s3}/out"]) == 2
        assert "`output` must be a folder on this machine" in capsys.readouterr().err
        assert not [*tmp_path.glob("s3:*")]


class TestReading:
    def test_a_damaged_shard_is_refused_by_the_name_of_the_place(
        self, teacher, tmp_path, monkeypatch
    ):
        url = "memory://damaged/labels"
        kd.SoftLabels.create(url, teacher, IMAGES, **OPTIONS)
        kd.SoftLabels(url)
        files, root = fsspec.core.url_to_fs(url)
        files.pipe_file(f"{root}/rows-00001.npy", content(url)["rows-00001.npy"][:-1])
        kd.SoftLabels(url)  # What lies here is whole.
        forget(monkeypatch, tmp_path, "elsewhere")
        with pytest.raises(ValueError, match=rf"Received: rows-00001\.npy in {url}, which is dam"):
            kd.SoftLabels(url)
        files.pipe_file(f"{root}/store.json", b"{")
        with pytest.raises(ValueError, match=f"Received: {url}/store.json, which is damaged"):
            kd.SoftLabels(url)

    def test_it_is_not_fetched_twice_and_fetched_again_when_it_is_another(
        self, teacher, monkeypatch
    ):
        url, fetched, bring = "memory://twice/labels", [], places.Objects.bring
        kd.SoftLabels.create(url, teacher, IMAGES, **OPTIONS)
        monkeypatch.setattr(
            places.Objects,
            "bring",
            lambda self, name, folder: fetched.append(name) or bring(self, name, folder),
        )
        kd.SoftLabels(url)
        assert not fetched
        kd.SoftLabels.create(url, teacher, IMAGES, seed=1, overwrite=True, **OPTIONS)
        here = kd.SoftLabels(url).path
        (here / "rows-00003.npy").unlink()
        kd.SoftLabels(url)
        assert fetched == ["rows-00003.npy"]

    def test_there_must_be_room_for_the_copy(self, teacher, tmp_path, monkeypatch):
        url = "memory://room/labels"
        kd.SoftLabels.create(url, teacher, IMAGES, **OPTIONS)
        forget(monkeypatch, tmp_path, "elsewhere")
        usage = type("Usage", (), {"free": 10})
        monkeypatch.setattr(places.shutil, "disk_usage", lambda folder: usage)
        with pytest.raises(OSError, match="Set `KERAS_HOME` to a folder with more room"):
            kd.SoftLabels(url)


class TestRefusals:
    def test_something_else_lies_there(self, teacher):
        files, root = fsspec.core.url_to_fs("memory://else/labels")
        files.pipe_file(f"{root}/photo.jpg", b"1")
        with pytest.raises(ValueError, match="memory://else/labels, which is something else"):
            kd.SoftLabels.create("memory://else/labels", teacher, IMAGES, **OPTIONS)

    def test_a_scheme_that_nobody_knows(self):
        with pytest.raises(ValueError, match="must be a folder, or a URL that fsspec knows"):
            kd.SoftLabels("nobody://bucket/labels")

    def test_a_package_that_is_missing(self, monkeypatch):
        with pytest.raises(ImportError, match=r"A place of gs:// needs another package.*gcsfs"):
            kd.SoftLabels("gs://bucket/labels")
        monkeypatch.setitem(sys.modules, "fsspec", None)
        with pytest.raises(ImportError, match=r'pip install "keras-kd\[objects\]"'):
            kd.SoftLabels("memory://bucket/labels")

    def test_a_bucket_that_is_not_there(self, s3, teacher):
        with pytest.raises(OSError, match="must be reached, and let you read and write"):
            kd.SoftLabels.create("s3://nowhere/labels", teacher, IMAGES, **OPTIONS)


def test_it_goes_to_other_processes_by_its_name(tmp_path):
    place = places.place_of("memory://pickled/labels/")
    again = pickle.loads(pickle.dumps(place))
    assert (str(again), again.folder) == ("memory://pickled/labels", place.folder)
    assert str(place.folder).startswith(os.environ["KERAS_HOME"])
    assert isinstance(places.place_of(tmp_path), places.Folder)
    assert isinstance(places.place_of("C:\\labels"), places.Folder)

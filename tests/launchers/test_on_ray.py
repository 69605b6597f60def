"""Workers of a Ray cluster: a store is the same bytes, and what is wrong there is told here."""

import contextlib
import functools
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import types

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd import cli
from keras_kd.launchers import on_ray, processes
from keras_kd.soft_labels import making

pytestmark = pytest.mark.usefixtures("improved_graphs")

# It waits so long for a process of its own, on a machine with much to do.
os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")
ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
IMAGES = np.random.default_rng(0).uniform(0, 255, (300, 4, 4, 1)).astype("uint8")


@pytest.fixture(scope="module")
def address():
    with pytest.MonkeyPatch.context() as patch:
        # Ray sets one, and would write the other into the user's home.
        patch.delenv("RAY_AUTH_MODE", raising=False)
        patch.setenv("RAY_AUTH_TOKEN", "of-this-test-alone-0123456789abcdef")
        ray.init(
            "local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
        )
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()


@pytest.fixture(scope="module")
def teacher():
    keras.utils.set_random_seed(0)
    return kd.models.mlp([8], image_shape=(4, 4, 1), num_classes=40)


def made(path, teacher, images, launcher=None):
    shift = kd.data.RandomShift(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "_ROWS_PER_SHARD", 64)  # 2 views of 5 shards.
        kd.SoftLabels.create(
            path, teacher, images, views=2, augmentation=shift, top_k=3, launcher=launcher,
            verbose=False,
        )  # fmt: skip
    return {each.name: each.read_bytes() for each in path.iterdir()}


@pytest.mark.slow
def test_a_store_is_that_of_one_process_though_a_worker_is_killed(
    address, teacher, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    np.save("images.npy", IMAGES)
    killed = tmp_path / "killed"

    def launcher(work, pieces):
        # Within a function: Ray sends it along.
        def killed_once(piece):
            assert os.environ["TF_USE_LEGACY_KERAS"] == "0"
            if piece == 3 and not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            work(piece)

        done = list(kd.launchers.Ray(num_workers=2)(killed_once, pieces))
        assert sorted(done) == sorted(pieces)
        yield from done

    # By the name of the file, and into a folder named from where the launcher is.
    images = np.load("images.npy", mmap_mode="r")
    found = made(tmp_path.joinpath("labels").relative_to(tmp_path), teacher, images, launcher)
    assert killed.exists() and found == made(tmp_path / "whole", teacher, IMAGES)


@pytest.mark.parametrize(
    ("found", "error", "sentence"),
    [
        ("None", ImportError, rf"must have keras_kd .*keras_kd.* on {socket.gethostname()}\."),
        ("Ends()", ChildProcessError, "Error of Ray's, 2 times before they began"),
    ],
)
def test_a_machine_without_keras_kd_is_named_and_one_that_dies_is_told(
    address, tmp_path, monkeypatch, found, error, sentence
):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "class Ends:\n"
        "    def __getattr__(self, name): os._exit(1)\n"
        f"sys.modules['keras_kd'] = {found}\n"
    )
    monkeypatch.setattr(processes, "_MOST_DEATHS", 2)
    monkeypatch.setitem(on_ray._ENVIRONMENT, "PYTHONPATH", str(tmp_path))
    with pytest.raises(error, match=sentence):
        list(kd.launchers.Ray(num_workers=1)(print, [0]))


def test_a_machine_with_other_versions_is_refused(address):
    wanted = on_ray.versions() | {"keras": "3.1"}
    work, error = on_ray.arrived(wanted, on_ray.place(), [])
    here = on_ray.versions()["keras"]
    assert work is None and f"keras {here} on {socket.gethostname()}, 3.1 here." in str(error)


def test_what_cannot_be_read_there_is_told_with_the_name_of_the_machine(address, tmp_path):
    file = tmp_path / "images.npy"
    np.save(file, IMAGES)
    sent = ray.put(on_ray._packed(ray, kd.data.Split(np.load(file, mmap_mode="r"), None)))
    reads = ray.put(on_ray._packed(ray, lambda piece: file.read_bytes()))
    file.unlink()
    here = on_ray.versions(), on_ray.place()
    work, error = on_ray.arrived(*here, [sent])
    assert work is None and isinstance(error, OSError)
    assert "images.npy" in str(error) and str(error).endswith(f"on {socket.gethostname()}.")
    work, error = on_ray.arrived(*here, [reads])
    assert error is None and str(work(0)) == (
        f"[Errno 2] No such file or directory: '{file}'. That was on {socket.gethostname()}."
    )


class FewerAndFewer:
    """A cluster: the second of its actors has lost its machine once it has begun."""

    exceptions = ray.exceptions

    def __init__(self):
        self.made, self.asked = [], {}

    def remote(self, **options):
        def make():
            self.made.append(types.SimpleNamespace())
            number = len(self.made)
            for name in ("begin", "do"):
                asked = functools.partial(self.ask, number, name)
                setattr(self.made[-1], name, types.SimpleNamespace(remote=asked))
            return self.made[-1]

        return lambda kind: types.SimpleNamespace(remote=make)

    def ask(self, number, name, *given):
        self.asked[object()] = number == 2 and (name == "do" or self.is_lost())
        return [*self.asked][-1]

    def is_lost(self):
        return any(self.asked.values())

    def get(self, answer):
        if self.asked[answer]:
            raise ray.exceptions.ActorUnavailableError("its machine is gone", b"0" * 16)

    def wait(self, answers):
        return answers[:1], answers[1:]

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": 1.0}}] * 2

    def put(self, packed):
        return packed

    def kill(self, actor):
        pass

    cloudpickle = ray.cloudpickle


def test_a_worker_whose_machine_is_lost_is_replaced_and_not_asked_again(monkeypatch):
    """Ray answers for it at once, whenever it is asked."""
    cluster = FewerAndFewer()
    monkeypatch.setattr(on_ray, "_connected", lambda _: contextlib.nullcontext(cluster))
    assert sorted(kd.launchers.Ray()(print, range(9))) == [*range(9)]
    assert cluster.is_lost() and len(cluster.made) == 3


def test_a_process_of_its_own_connects_by_the_address(address):
    code = (
        "import sys; from keras_kd.launchers import on_ray\n"
        "with on_ray._connected(sys.argv[1]) as ray: print(len(ray.nodes()))"
    )
    command = [sys.executable, "-c", code, address]
    told = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (told.returncode, told.stdout) == (0, "1\n"), told.stderr


def test_an_address_without_a_cluster_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        for each in (address, f"ray://{address}"):
            with pytest.raises(ConnectionError, match=rf"{each} \(.*refused\)\. Begin one"):
                list(kd.launchers.Ray(each)(print, [0]))
    assert list(kd.launchers.Ray(address)(print, [])) == []


def test_what_answers_is_waited_for_only_so_long(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda *_, **__: signal.pause())
    monkeypatch.setattr(on_ray, "_SECONDS_TO_CONNECT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ConnectionError, match="no Ray answered within 0.1 s"):
            list(kd.launchers.Ray(address)(print, [0]))


@pytest.mark.parametrize("given", ["", "nonsense", "http://here:8265", "here:99999"])
def test_an_address_is_one(given):
    with pytest.raises(ValueError, match=r"`address` must be auto, local, HOST:PORT"):
        kd.launchers.Ray(given)
    with pytest.raises(ValueError, match="num_workers"):
        kd.launchers.Ray(num_workers=0)


def test_without_the_extra_it_is_named_before_anything_is_done(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    find = importlib.util.find_spec
    without = {"ray": None}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: without[name] if name in without else find(name)
    )
    assert cli.main(["compare", "digits", "--output", "here", "--ray", "auto"]) == 1
    said = capsys.readouterr().err
    assert 'Run `pip install "keras-kd[ray]"`.' in said and said.count("\n") == 1
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("command", ["compare", "sweep", "search"])
def test_experiments_are_shared_in_the_cluster_that_is_named(command, monkeypatch):
    asked = {}
    monkeypatch.setattr(kd.experiment, command, lambda recipe, **given: asked.update(given))
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        address = f"127.0.0.1:{somebody.getsockname()[1]}"
        for more, num_workers in (([], None), (["--workers", "3"], 3)):
            assert cli.main([command, "digits", "--ray", address, *more]) == 0
            assert asked["workers"] == kd.launchers.Ray(address, num_workers)


@pytest.mark.parametrize("command", ["compare", "sweep", "search"])
def test_where_nobody_listens_it_is_told_before_a_teacher_is_trained(
    command, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert cli.main([command, "digits", "--ray", "127.0.0.1:1"]) == 1
    assert "must be that of a Ray cluster" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]

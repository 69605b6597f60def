"""What keeps the figures of `benchmarks/`, and that its pages say what they are."""

import concurrent.futures
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def results(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import scripts.results

    yield scripts.results
    for name in ("scripts", "scripts.results"):
        sys.modules.pop(name, None)


def test_rows_that_are_written_at_once_are_all_kept(results, tmp_path):
    def write(name):
        for seed in range(5):
            results.update("trial", [name, seed], {"accuracy": seed / 10}, folder=tmp_path)

    with concurrent.futures.ThreadPoolExecutor() as threads:
        list(threads.map(write, ["one", "another"]))
    rows = {str(seed): {"accuracy": seed / 10} for seed in range(5)}
    assert results.read("trial", tmp_path) == {"another": rows, "one": rows}


def test_a_value_takes_the_place_of_the_one_before_and_no_other(results, tmp_path):
    assert results.read("trial", tmp_path) == {}
    for key, value in (("b", 1), ("a", 2), ("b", 3)):
        results.update("trial", key, value, folder=tmp_path)
    assert json.loads((tmp_path / "trial.json").read_text()) == {"a": 2, "b": 3}
    assert list(results.read("trial", tmp_path)) == ["a", "b"]

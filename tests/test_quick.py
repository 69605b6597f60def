"""Which tests `make quick` runs."""

import types

import quick


def made(path, text, *names, marker=""):
    path.write_text(text)
    return [
        types.SimpleNamespace(
            path=path, name=name, get_closest_marker=lambda asked: marker == asked
        )
        for name in names
    ]


def test_files_that_train_least_come_first_and_whole_and_what_is_slow_is_left_out(tmp_path):
    trains = made(tmp_path / "a.py", "model.fit(x); model.fit(x)", "z", "y")
    plain = made(tmp_path / "b.py", "assert 1 + 1 == 2", "x", "w")
    slow = made(tmp_path / "c.py", "", "v", marker="slow")
    chosen, left_out = quick.cheapest_first([*trains, *slow, *plain])
    assert [test.name for test in chosen] == ["x", "w", "z", "y"]
    assert left_out == slow


def test_a_file_is_judged_by_its_calls_for_each_test(tmp_path):
    few = made(tmp_path / "a.py", "model.fit(x)", "a")
    many = made(tmp_path / "b.py", "model.fit(x); model.fit(x)", *"bcdefg")
    chosen, _ = quick.cheapest_first([*few, *many])
    assert [test.name for test in chosen] == [*"bcdefg", "a"]


def test_the_time_is_over_after_its_seconds():
    assert not quick.is_over(quick._BEGAN + quick.SECONDS - 1)
    assert quick.is_over(quick._BEGAN + quick.SECONDS + 1)

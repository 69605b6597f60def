"""Which tests `make quick` runs."""

import types

import quick


def made(path, text, *names, marker=""):
    path.write_text(text)
    return [
        types.SimpleNamespace(path=path, name=name, get_closest_marker=marker.__eq__)
        for name in names
    ]


def chosen_of(items, seconds=None):
    return [item.name for item in quick.cheapest_first(items, seconds or {})[0]]


def test_files_that_train_least_come_first_and_whole_and_what_is_slow_is_left_out(tmp_path):
    trains = made(tmp_path / "a.py", "model.fit(x); model.fit(x)", "z", "y")
    plain = made(tmp_path / "b.py", "assert 1 + 1 == 2", "x", "w")
    slow = made(tmp_path / "c.py", "", "v", marker="slow")
    assert chosen_of([*trains, *slow, *plain]) == ["x", "w", "z", "y"]
    assert quick.cheapest_first([*trains, *slow, *plain], {})[1] == slow


def test_a_file_is_judged_by_its_calls_for_each_test(tmp_path):
    few = made(tmp_path / "a.py", "model.fit(x)", "a")
    many = made(tmp_path / "b.py", "model.fit(x); model.fit(x)", *"bcdefg")
    assert chosen_of([*few, *many]) == [*"bcdefg", "a"]


def test_what_ran_before_is_judged_by_what_it_took(tmp_path):
    one = made(tmp_path / "one.py", "model.fit(x)", "a", "b")
    other = made(tmp_path / "other.py", "", "c")
    kept = {"one.py": [0.1, 2], "other.py": [0.2, 1]}
    assert chosen_of([*one, *other], kept) == ["a", "b", "c"]


def test_what_the_tests_of_a_file_take_is_kept_beside_what_is_known_of_others():
    cache = {quick.KEPT: {"other.py": [1.0, 2], "one.py": [9.0, 1]}}
    cache = types.SimpleNamespace(get=cache.get, set=cache.__setitem__, held=cache)
    seconds = quick.Seconds(cache)
    for name, when, duration in (("a", "setup", 0.5), ("a", "call", 0.25), ("b", "call", 0.25)):
        seconds.pytest_runtest_logreport(
            types.SimpleNamespace(
                nodeid=f"one.py::{name}", when=when, duration=duration, skipped=False, keywords={}
            )
        )
    seconds.pytest_sessionfinish()
    assert cache.held[quick.KEPT] == {"other.py": [1.0, 2], "one.py": [1.0, 2]}


def test_the_time_is_over_after_its_seconds():
    assert not quick.is_over(quick._BEGAN + quick.SECONDS - 1)
    assert quick.is_over(quick._BEGAN + quick.SECONDS + 1)

"""Where distillation pays: one row a regime, each with its controls, five paired seeds.

Commands: `python benchmarks/atlas.py NAME ...` runs rows (`--list` names them, `all` is all),
`python benchmarks/atlas.py --tune NAME ...` tries their small grids on seeds 100 and 101, by
validation alone, and says what to freeze. Without a name it only writes the pages anew.
Cost: half a minute a seed and row on one core; the teachers that saw every label, two minutes.
Writes: `benchmarks/results/atlas.json`, and what `atlas_page.py` says. What is finished is not run
again unless its settings changed; what was stopped goes on.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import atlas_page
from regimes import images, integers, others, recorded, tables, teachers
from regimes.regime import best_of
from scripts.results import read, update

from keras_kd._common.backend import describe_machine

REGIMES = {
    **images.REGIMES,
    **others.REGIMES,
    **integers.REGIMES,
    **recorded.REGIMES,
    **tables.REGIMES,
}
TUNED_ON = (100, 101)
FOLDER = teachers.FOLDER


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{name:<34} {regime.title}" for name, regime in REGIMES.items()))
        return
    names = list(REGIMES) if options.names == ["all"] else options.names
    for name in names:
        if options.tune:
            tune(name)
        else:
            run(name, range(options.seeds))
    if not options.tune:
        atlas_page.write(read("atlas"))


def tune(name):
    """Try the grid of a row and keep what validation says of it."""
    regime = REGIMES[name]
    tried = [
        regime.tune(seed, regime.grid, FOLDER / "tuning" / name / str(seed)) for seed in TUNED_ON
    ]
    settings, means = best_of(tried)
    update("atlas_tuning", name, means)
    print(f"{name}: {settings}", flush=True)


def run(name, seeds):
    """Run a row over seeds and keep each seed when it is finished."""
    regime = REGIMES[name]
    if not regime.settings:
        raise SystemExit(f"{name} has no settings yet. Tune it, and freeze them in its module.")
    head = {
        "title": regime.title, "kind": regime.kind, "data": regime.data,
        "command": f"python benchmarks/atlas.py {name}",
        "settings": regime.settings, "frozen": regime.frozen, "machine": describe_machine(),
        **({"control": regime.control} if regime.control else {}), **regime.measured,
    }  # fmt: skip
    kept = read("atlas").get(name, {})
    runs = kept.get("runs", []) if kept.get("settings") == regime.settings else []
    for seed in seeds:
        if seed in [each["seed"] for each in runs] or seed >= regime.num_seeds:
            continue
        began = time.perf_counter()
        found = regime.run(seed, regime.settings, FOLDER / "rows" / name / str(seed))
        runs = [*runs, {"seed": seed, "seconds": time.perf_counter() - began, **found}]
        update("atlas", name, {**head, "runs": runs})
        said = ", ".join(f"{arm} {accuracy:.4f}" for arm, accuracy in found["test"].items())
        print(f"{name} {seed}: {said}", flush=True)


if __name__ == "__main__":
    main()

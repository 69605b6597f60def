"""The adversarial forms over seeds, with their controls; writes `benchmarks/adversarial.md`.

Commands, each resumable: a run of as many epochs that `benchmarks/results/adversarial.json` has is
not run again, a run that was killed begins anew.

    python benchmarks/scripts/adversarial.py data_free --dataset mnist --seeds 3
    python benchmarks/scripts/adversarial.py data_free --dataset fashion_mnist --seeds 3
    python benchmarks/scripts/adversarial.py labelled --seeds 10
    python benchmarks/scripts/adversarial.py few_labels --images 100 --seeds 5
    python benchmarks/scripts/adversarial.py few_labels --images 1000 --seeds 5
    python benchmarks/scripts/adversarial.py overhead
    python benchmarks/scripts/adversarial.py table          # only writes the document anew

Cost on one core: data-free 40 minutes a seed for the hybrid, 20 for DAFL, 15 for DFAD, minutes for
the rest; labelled about five minutes a seed; few labels about nine.
`--methods hybrid noise` runs some rows alone, `--epochs` shortens them, and the table says by how
much. `--quick` shows in a minute or two that a command goes, in a folder of its own.

Nothing is chosen by the validation split or the test split: a run's result is that of its last
epoch, or, without data, of the student that `CollapseWatch` kept by generated images. The test
split is read once a run, at its end. The ten seeds of `labelled` are those of the promise that
neither the discriminator nor the online form ends more than 0.3 point below its control.
"""

import argparse
import tempfile
import time
from pathlib import Path

import adversarial_data_free as data_free
import adversarial_few_labels as few_labels
import adversarial_labelled as labelled
import adversarial_overhead as overhead
import adversarial_table as table
import keras
from adversarial_runs import Job
from pages import PAGES
from results import RESULTS, read, update

from keras_kd._common.backend import describe_machine

MODELS = PAGES.parent / "saved_models" / "bench" / "adversarial"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = ["data_free", "labelled", "few_labels", "overhead", "table"]
    parser.add_argument("experiment", choices=kinds)
    parser.add_argument("--dataset", default="mnist", choices=list(data_free.PIXELS))
    parser.add_argument("--images", type=int, default=100, help="labelled ones, for few_labels")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--methods", nargs="*", help="rows of the table; all of them by default")
    parser.add_argument("--epochs", type=int, help="of these rows, if not their own")
    parser.add_argument("--quick", action="store_true", help="next to nothing, to see that it goes")
    options = parser.parse_args()
    results, models, written = RESULTS, MODELS, PAGES / "adversarial.md"
    if options.quick:
        results = Path(tempfile.mkdtemp(prefix="adversarial_"))
        models, written = results / "models", results / "adversarial.md"
        print(f"Everything goes to {results}.", flush=True)
    if options.experiment == "overhead":
        keep(["overhead"], results, overhead.measure, models=models, quick=options.quick)
    elif options.experiment != "table":
        run_over_seeds(options, results, models)
    found = read("adversarial", results)
    table.draw_curves(found, results / "pictures")
    written.write_text(table.document(found, results / "pictures"))


def run_over_seeds(options, results, models):
    """Run each row of one table for each seed, those that have no result yet."""
    name, teacher_of, methods = {
        "data_free": (options.dataset, data_free.teacher_of, data_free.METHODS),
        "labelled": ("labelled", labelled.teacher_of, labelled.METHODS),
        "few_labels": (
            f"few_labels_{options.images}",
            few_labels.teacher_of,
            few_labels.METHODS,
        ),
    }[options.experiment]
    kept = read("adversarial", results).get(name, {})
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for method in options.methods or methods:
            epochs = 1 if options.quick else options.epochs or methods[method].epochs
            job = Job(
                name, method, seed, epochs, models=models, results=results, quick=options.quick
            )
            if kept.get(method, {}).get(str(seed), {}).get("epochs") == epochs:
                continue
            teacher_of(job)  # Trained before the clock starts, if it is not there yet.
            keep([name, method, seed], results, methods[method].run, job)


def keep(key, results, run, *args, **options):
    """Run, and keep the result with its time and its machine."""
    title = " ".join(map(str, key))
    print(f"{title} ...", flush=True)
    keras.backend.clear_session()
    start = time.perf_counter()
    result = run(*args, **options)
    result |= {"minutes": (time.perf_counter() - start) / 60, "machine": describe_machine()}
    update("adversarial", key, result, results)
    print(f"{title}: {result}"[:300], flush=True)


if __name__ == "__main__":
    main()

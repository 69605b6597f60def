"""The tables of `benchmarks/many_images.md`: what was measured, times what is assumed.

Command: `python benchmarks/scripts/machines.py rates stores`, which measures and writes them.
"""

import math

from results import read

IMAGES, WORKERS, PARTS = 10**8, 64, 1024
# Assumed, not measured here: a photo as in ImageNet, a GPU, how often a machine is lost.
PHOTO_BYTES, GPU_RATE = 110_000, 2000
LIVES = {"30 days, as your own": 720, "a day, as rented by the hour": 24}
HOUR = 3600


def document():
    """Return the tables."""
    found = read("machines")
    rates, stores = found["rates"], found["stores"]
    kinds = {
        f"this machine, {rates['teacher_images_a_second']} images/s": rates[
            "teacher_images_a_second"
        ],
        f"a GPU, assumed {GPU_RATE:,} images/s": GPU_RATE,
    }
    lines = ["", f"## Measured, one process on {found['machine']['device']}", ""]
    lines += _table(
        ["", "figure"],
        [
            ["a teacher, ResNet50 at 224 x 224", f"{rates['teacher_images_a_second']} images/s"],
            [
                f"reading and checking JPEG files of {rates['file_bytes'] / 1000:.0f} kB",
                f"{rates['read_images_a_second']:,} images/s",
            ],
            ["digest of the files", f"{_digest_rate(rates) / 1e6:,.0f} MB/s"],
            *(
                [f"writing a store, {name}", f"{store['images_a_second']:,} images/s"]
                for name, store in stores.items()
            ),
            ["opening a store", f"{stores['all, float16']['opened_mb_a_second']:,} MB/s"],
            ["starting a process", f"{rates['start_s']} s"],
            ["a piece of work, by the launcher", f"{found['scaling']['ms_a_piece']} ms"],
        ],
    )
    lines += ["## The store, 1,000 classes", ""]
    lines += _table(
        [
            "kept",
            "bytes an image",
            f"{IMAGES // 10**6} million images",
            f"each of {PARTS:,} stores",
            "shards in it",
            "files in all",
        ],
        [
            [name, f"{store['bytes_an_image']:,.0f}", *_of_store(store)]
            for name, store in stores.items()
        ],
    )
    lines += [f"## Hours, {WORKERS} workers", ""]
    rows = {}
    for rate in kinds.values():
        for name, hours in _hours(rates, stores["all, float16"], rate).items():
            rows.setdefault(name, []).append(_hours_text(hours))
    lines += _table(["", *kinds], [[name, *hours] for name, hours in rows.items()])
    lines += ["## Machines that are lost", ""]
    lost = []
    for life, hours in LIVES.items():
        cells = [_lost(rates, stores["all, float16"], rate, hours) for rate in kinds.values()]
        lost.append([life, *cells])
    lines += _table(["each is lost once in", *kinds], lost)
    return "\n".join(lines)


def _hours(rates, store, rate):
    """Return the hours of each worker, by what it does."""
    digest = PHOTO_BYTES / _digest_rate(rates)
    read_s, teacher_s = 1 / rates["read_images_a_second"], 1 / rate
    write_s, share = 1 / store["images_a_second"], IMAGES / WORKERS
    one = (IMAGES * (read_s + digest), share * (teacher_s + write_s))
    many = (
        PARTS / WORKERS * rates["start_s"],
        share * (read_s + digest),
        share * (teacher_s + write_s),
    )
    return {
        "one store: reading all images, in each worker": one[0] / HOUR,
        "one store: teacher and writing": one[1] / HOUR,
        "**one store**": sum(one) / HOUR,
        f"{PARTS:,} stores: starting": many[0] / HOUR,
        f"{PARTS:,} stores: reading": many[1] / HOUR,
        f"{PARTS:,} stores: teacher and writing": many[2] / HOUR,
        f"**{PARTS:,} stores**": sum(many) / HOUR,
    }


def _lost(rates, store, rate, life):
    """Return how many workers are lost, and the share of all work that is done again."""
    hours = _hours(rates, store, rate)[f"**{PARTS:,} stores**"]
    lost = WORKERS * hours / life
    part = IMAGES / PARTS
    # Half a shard, on average, and what comes before it again.
    again = min(store["rows_a_shard"], part) / 2 / rate
    again += rates["start_s"] + part / rates["read_images_a_second"]
    again += part * PHOTO_BYTES / _digest_rate(rates)
    share = lost * again / (WORKERS * hours * HOUR)
    return f"{lost:.1f} lost, {100 * share:.1f} % done again"


def _of_store(store):
    size, shards = (
        IMAGES * store["bytes_an_image"],
        math.ceil(IMAGES / PARTS / store["rows_a_shard"]),
    )
    files = PARTS * (shards + 1)
    return f"{size / 1e9:,.0f} GB", f"{size / PARTS / 1e6:,.0f} MB", f"{shards}", f"{files:,}"


def _digest_rate(rates):
    return rates["digest_images_a_second"] * rates["file_bytes"]


def _hours_text(hours):
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return [*(f"| {' | '.join(cells)} |" for cells in lines), ""]

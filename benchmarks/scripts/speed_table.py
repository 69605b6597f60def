"""The section of `speed.md` on speed, written from what `speed.py` measured."""

import statistics

from results import read
from speed_pieces import WORKS


def document():
    """Return the section, of what has been measured."""
    found = read("speed")
    return "\n".join(write(found[name]) for name, write in _WRITERS.items() if name in found)


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _titled(title, found, text):
    machine = ", ".join(f"{key} {value}" for key, value in found["machine"].items())
    return f"## {title}\n\n{text}\n\n{machine}.\n"


def _step(found):
    parts = ["Seconds an epoch after the first, medians of seven rounds in turns."]
    for name, ways in found["workloads"].items():
        seconds = {way: statistics.median(values) for way, values in ways.items()}
        limit, alone = (
            seconds["limit: one XLA loop over the epoch"],
            seconds["keras_kd, student alone"],
        )
        ours = seconds["keras_kd, distilling"]
        rows = [
            [way, f"{value:.3f}", f"{value / limit:.1f}", f"{value / ours:.1f}"]
            for way, value in seconds.items()
        ]
        parts.append(
            f"**{name}**; distilling takes {ours / alone:.2f} times the student alone.\n\n"
            + _table(["", "s", "over the limit", "over keras_kd, distilling"], rows)
        )
    return _titled("Speed of a step (`speed.py step`)", found, "\n\n".join(parts))


def _teacher(found):
    seconds = {name: statistics.median(values) for name, values in found["seconds"].items()}
    alone, one_pass = seconds["student alone"], seconds["one teacher pass"]
    stored, live = seconds["soft labels, made and used"], seconds["live teacher"]
    epochs = found["epochs"]
    text = (
        f"{epochs} epochs on 10 000 images of Fashion-MNIST, a convolutional teacher of "
        f"{found['teacher_over_student']:.0f} times the student's multiplications; seconds from "
        "`compile` to the end, medians of the rounds in turns.\n\n"
        + _table(["", "s"], [[name, f"{value:.2f}"] for name, value in seconds.items()])
        + f"\n\nSoft labels, made and used: {stored / (1.15 * alone + one_pass):.2f} times "
        "(1.15 x student alone + one teacher pass). "
        f"Live: {live / (alone + epochs * one_pass):.2f} times (student alone + "
        f"{epochs} teacher passes)."
    )
    return _titled("A large teacher (`speed.py teacher`)", found, text)


def _sweep(found):
    rows = []
    for name in ("mlp", "convolutions"):
        for what in ("epoch", "three epochs"):
            seconds = {key: statistics.median(values) for key, values in found[name][what].items()}
            together, one = seconds["12 together"], seconds["one"]
            rows.append(
                [f"{name}, {what}", f"{together:.2f}", f"{one:.2f}", f"{together / one:.1f}"]
            )
    convolutions = found["convolutions"]
    teacher_pass, one, together = (
        statistics.median(seconds)
        for seconds in (
            convolutions["teacher pass"],
            convolutions["student alone"],
            convolutions["epoch"]["12 together"],
        )
    )
    parts = teacher_pass + 12 * one
    text = (
        "12 students over temperature and alpha, trained together, and one of them by itself; "
        "medians of three rounds in turns. `three epochs` counts compilation.\n\n"
        + _table(["", "12 together, s", "one, s", "ratio"], rows)
        + f"\n\nConvolutions: {together / parts:.2f} times (teacher pass + 12 students' epochs)."
    )
    return _titled("A sweep (`speed.py sweep`)", found, text)


def _choices(found):
    rows = []
    for name, ways in found["seconds"].items():
        seconds = {way: statistics.median(values) for way, values in ways.items()}
        chosen = next(iter(seconds.values()))
        rows += [
            [name, way, f"{value:.2f}", f"{value / chosen:.2f}"] for way, value in seconds.items()
        ]
    text = (
        "Seconds an epoch after the first, distilling on logits and a layer with the live teacher, "
        "batches of 64, medians of five rounds in turns: what `fit` chooses on a processor, and "
        "what it could have chosen.\n\n" + _table(["", "", "s", "over what is chosen"], rows)
    )
    return _titled("What `fit` chooses (`speed.py choices`)", found, text)


def _scale(found):
    rows = [
        [
            f"{int(count):,}",
            f"{row['create_seconds']:.2f}",
            f"{row['epoch_seconds']:.2f}",
            f"{row['bytes'] / 1e6:.1f}",
            f"{row['peak_bytes'] / 1e6:.0f}",
        ]
        for count, row in found["rows"].items()
    ]
    head = ["rows", "create, s", "one epoch, s", "store, MB", "peak memory, MB"]
    text = (
        "Soft labels of synthetic 28x28 images mapped from a file, and one epoch from them; each "
        "size in a process of its own; peak of the process's own memory.\n\n" + _table(head, rows)
    )
    return _titled("Soft labels by size (`speed.py scale`)", found, text)


def _startup(found):
    rows = [
        [f"`{name}`", f"{statistics.median(values):.2f}"]
        for name, values in found["seconds"].items()
    ]
    text = "Seconds from the start of the process to its end.\n\n" + _table(["", "s"], rows)
    return _titled("Start (`speed.py startup`)", found, text)


def _convolutions(found):
    rows = []
    works = dict.fromkeys(work for kind in found.values() for work in kind["seconds"])
    for work in sorted(works, key=lambda work: [*WORKS, work].index(work)):
        for kind, measured in found.items():
            ways = measured["seconds"].get(work)
            if ways is None:
                continue
            seconds = {way: statistics.median(values) for way, values in ways.items()}
            others = {way: seconds[way] for way in seconds if way.startswith("PyTorch")}
            best = min(others, key=others.get) if others else None
            on, off = seconds.get("keras_kd, oneDNN on"), seconds.get("keras_kd, oneDNN off")
            ours = (_seconds(each) for each in (on, off, seconds.get("Keras")))
            theirs = f"{_seconds(others.get(best))}{_layout(best)}"
            ratio = f"{on / others[best]:.2f}" if on and best else ""
            rounds = max(map(len, ways.values()))
            rows.append([work, kind, *ours, theirs, ratio, rounds])
    text = (
        "Images of 28x28, batches of 64, Adam. Medians of rounds in turns, the order changed with "
        "each. PyTorch is its plain loop at its fastest, in its best layout: images ready in "
        "memory, no DataLoader, the fused Adam, nothing counted. An epoch is one after the "
        "first.\n\n"
        + _table(
            ["", "processor", "keras_kd, oneDNN on", "off", "Keras", "PyTorch", "ratio", "rounds"],
            rows,
        )
    )
    return _of_kinds("Convolutions (`speed.py convolutions`)", found, text)


def _layout(way):
    return way.removeprefix("PyTorch") if way else ""


def _seconds(value):
    return "" if value is None else f"{value:.3f}"


def _first_fit(found):
    rows = [
        [
            way,
            kind,
            *(f"{statistics.median(seconds[each]):.2f}" for each in ("first", "later")),
            len(seconds["first"]),
        ]
        for kind, measured in found.items()
        for way, seconds in measured["seconds"].items()
    ]
    text = (
        "One `fit` of one epoch: an MLP 784-32-10 alone, 60 000 images in arrays, batches of 32. "
        "Each process makes three, of which the later two count as one; medians of processes in "
        "turns.\n\n" + _table(["", "processor", "first, s", "later, s", "processes"], rows)
    )
    return _of_kinds("The first `fit` (`speed.py first_fit`)", found, text)


def _of_kinds(title, found, text):
    """Return a section on several kinds of processor, each with its machine below the table."""
    machines = [
        f"{kind}: " + ", ".join(f"{key} {value}" for key, value in each["machine"].items()) + "."
        for kind, each in found.items()
    ]
    return f"## {title}\n\n{text}\n\n" + "\n\n".join(machines) + "\n"


_WRITERS = {
    "step": _step,
    "teacher": _teacher,
    "sweep": _sweep,
    "choices": _choices,
    "scale": _scale,
    "startup": _startup,
    "convolutions": _convolutions,
    "first_fit": _first_fit,
}

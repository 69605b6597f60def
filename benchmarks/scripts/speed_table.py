"""The section of `speed.md` on speed, written from what `speed.py` measured."""

import statistics

from results import read


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


_WRITERS = {
    "step": _step,
    "teacher": _teacher,
    "sweep": _sweep,
    "choices": _choices,
    "scale": _scale,
    "startup": _startup,
}

"""A distillation for people: the closing table, and what it means."""

from keras_kd.experiment.report import verdict as verdict_of
from keras_kd.experiment.tables import closing


def table(report):
    """Return the closing table of a distillation, a `Table`."""
    return closing(f"{report['data']['test']:,} test images, read once", report["models"])


def verdict(report):
    """Return one honest sentence on what distillation gained."""
    if "gain" not in report:
        return "There was no control: whether distillation helped is not known."
    return verdict_of(report["gain"])


def to_ship(report):
    """Return one sentence on which file to take."""
    name = report["to_ship"]
    if name is None:
        return "NO FILE is within its budgets; name a smaller student, or allow more."
    (file,) = (each for each in report["export"]["files"] if each.get("file") == name)
    return (
        f"To ship: {name}, {file['bytes'] / 1000:,.0f} KB, accuracy "
        f"{100 * file['accuracy']:.2f} % on the test images: the most accurate within the budgets."
    )

"""A distillation for people: the closing table, and what it means."""

from keras_kd._common.console import Table
from keras_kd.experiment.report import verdict as verdict_of

_TITLES = {
    "teacher": "teacher",
    "student": "student distilled",
    "student_alone": "student alone",
}


def table(report):
    """Return the closing table of a distillation, a `Table`."""
    closing = Table(
        f"{report['data']['test']:,} test images, read once",
        ["", "accuracy", "NLL", "ECE", "agreement", "parameters"],
        caption="NLL: negative log-likelihood. ECE: expected calibration error. Agreement: with "
        "the teacher.",
    )
    for name, model in report["models"].items():
        test = model["test"]
        agreement = test.get("agreement_with_teacher")
        closing.add_row(
            _TITLES[name],
            f"{test['accuracy']:.4f}",
            f"{test['negative_log_likelihood']:.4f}",
            f"{test['expected_calibration_error']:.4f}",
            "" if agreement is None else f"{agreement:.4f}",
            f"{model['parameters']:,}" if model["parameters"] else "",
        )
    return closing


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

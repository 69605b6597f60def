"""The losses again, in float64 NumPy, written from their papers: what ours are compared with."""

import numpy as np

import keras_kd as kd

LABELS = np.array([3, 0, 4, 1, 1, 2])
LOGITS = [np.random.default_rng(seed).normal(0, 3, (6, 5)) for seed in (0, 1)]
VECTORS = [
    np.random.default_rng(seed).normal(size=shape) for seed, shape in ((2, (6, 7)), (3, (6, 4)))
]
MAPS = [
    np.random.default_rng(seed).normal(size=shape)
    for seed, shape in ((4, (6, 4, 4, 3)), (5, (6, 2, 2, 5)))
]


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def divergence(p, q):
    return (p * np.log(p / q)).sum(-1)


def soft_targets(t, s, temperature=3.0):
    return temperature**2 * divergence(softmax(t / temperature), softmax(s / temperature))


def binary_soft_targets(t, s, temperature=3.0):
    p, q = sigmoid(t / temperature), sigmoid(s / temperature)
    return temperature**2 * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean(-1)


def reverse_soft_targets(t, s, temperature=3.0):
    return soft_targets(s, t, temperature)


def jensen_shannon(t, s, temperature=3.0, beta=0.3):
    """Agarwal et al. 2024, section 2: with P the teacher and Q the student."""
    p, q = softmax(t / temperature), softmax(s / temperature)
    m = beta * p + (1 - beta) * q
    return temperature**2 * (beta * divergence(p, m) + (1 - beta) * divergence(q, m))


def decoupled_kd(t, s, temperature=4.0, alpha=1.0, beta=8.0, labels=LABELS):
    """Zhao et al. 2022: as the authors' code has it, with its mask of 1000."""
    g = np.eye(t.shape[-1])[labels]
    p, q = softmax(t / temperature), softmax(s / temperature)
    b_t, b_s = (np.stack([(x * g).sum(-1), (x * (1 - g)).sum(-1)], -1) for x in (p, q))
    r_t, r_s = (softmax(z / temperature - 1000 * g) + 1e-300 for z in (t, s))
    return temperature**2 * (alpha * divergence(b_t, b_s) + beta * divergence(r_t, r_s))


def z_score(logits):
    return (logits - logits.mean(-1, keepdims=True)) / logits.std(-1, ddof=1, keepdims=True)


def correlation(a, b, axis):
    a, b = a - a.mean(axis, keepdims=True), b - b.mean(axis, keepdims=True)
    return (a * b).sum(axis) / np.sqrt((a**2).sum(axis) * (b**2).sum(axis))


def dist(t, s, temperature=2.0, beta=0.7, gamma=1.3):
    p, q = softmax(t / temperature), softmax(s / temperature)
    inter = 1 - correlation(q, p, -1)
    intra = (1 - correlation(q, p, 0)).mean()
    return temperature**2 * (beta * inter + gamma * intra)


def label_smoothing(t, s):
    y = 0.8 * np.eye(5)[LABELS] + 0.2 / 5
    return -(y * np.log(softmax(s))).sum(-1)


def teacher_labels(t, s):
    return -np.log(softmax(s)[np.arange(6), t.argmax(-1)])


def attention_transfer(t, s):
    t = t.reshape(6, 2, 2, 2, 2, 3).mean((2, 4))  # Pooled from 4x4 to 2x2.
    a_t, a_s = ((np.abs(f) ** 2).mean(-1).reshape(6, -1) for f in (t, s))
    a_t, a_s = (a / np.linalg.norm(a, axis=-1, keepdims=True) for a in (a_t, a_s))
    return ((a_s - a_t) ** 2).mean(-1)


def similarity_preserving(t, s):
    t, s = (f.reshape(len(f), -1) for f in (t, s))
    g_t, g_s = (f @ f.T for f in (t, s))
    g_t, g_s = (g / np.linalg.norm(g, axis=-1, keepdims=True) for g in (g_t, g_s))
    return ((g_t - g_s) ** 2).sum(-1) / len(t)


def huber(x):
    return np.where(np.abs(x) < 1, 0.5 * x**2, np.abs(x) - 0.5)


def huber_matching(t, s, delta=2.0):
    d = np.abs(s - t)
    return np.where(d <= delta, 0.5 * d**2, delta * (d - 0.5 * delta)).mean(-1)


def cosine_matching(t, s):
    return 1 - (t * s).sum(-1) / (np.linalg.norm(t, axis=-1) * np.linalg.norm(s, axis=-1))


def relational_distance(t, s):
    t, s = (f.reshape(len(f), -1) for f in (t, s))
    d_t, d_s = (np.linalg.norm(f[:, None] - f[None], axis=-1) for f in (t, s))
    other = ~np.eye(len(t), dtype=bool)  # The authors count duplicates, at their clamp of 1e-6.
    d_t, d_s = (np.where(other, np.maximum(d, 1e-6), 0) for d in (d_t, d_s))
    d_t, d_s = (d / d[other].mean() for d in (d_t, d_s))
    return huber(d_s - d_t).mean(-1)


def relational_angle(t, s):
    def angles(f):
        f = f.reshape(len(f), -1)
        e = f[None] - f[:, None]
        norms = np.linalg.norm(e, axis=-1, keepdims=True)
        e = np.divide(e, norms, out=np.zeros_like(e), where=norms > 0)
        return np.einsum("ijd,ikd->ijk", e, e)

    return huber(angles(s) - angles(t)).mean((-2, -1))


def labelled(teacher_logits):
    return {"logits": teacher_logits, "labels": LABELS}


def contrastive(t, s, num_examples=50):
    """Tian et al. 2020: as the authors' code has it, without its epsilon of 1e-7."""
    noise = (t.shape[1] - 1) / num_examples
    values = 0
    for ratio in (np.exp(t), np.exp(s)):
        values = values - np.log(ratio[:, 0] / (ratio[:, 0] + noise))
        values = values - np.log(noise / (ratio[:, 1:] + noise)).sum(-1)
    return values


L = kd.losses
# The class, its reference, what it compares, and what it is given beside the teacher's outputs.
REFERENCES = {
    "SoftTargets": (L.SoftTargets(3.0), soft_targets, LOGITS, None),
    "BinarySoftTargets": (L.BinarySoftTargets(3.0), binary_soft_targets, LOGITS, None),
    "TeacherLabels": (L.TeacherLabels(), teacher_labels, LOGITS, None),
    "LogitMatching": (L.LogitMatching(), lambda t, s: ((s - t) ** 2).mean(-1), LOGITS, None),
    "LogitDistance": (L.LogitDistance(), lambda t, s: np.abs(s - t).mean(-1), LOGITS, None),
    "ReverseSoftTargets": (L.ReverseSoftTargets(3.0), reverse_soft_targets, LOGITS, None),
    "JensenShannon": (L.JensenShannon(3.0, mixing=0.3), jensen_shannon, LOGITS, None),
    "ValueMatching": (L.ValueMatching(), lambda t, s: ((s - t) ** 2).mean(-1), LOGITS, None),
    "ValueDistance": (L.ValueDistance(), lambda t, s: np.abs(s - t).mean(-1), LOGITS, None),
    "HuberMatching": (L.HuberMatching(2.0), huber_matching, LOGITS, None),
    "CosineMatching": (L.CosineMatching(), cosine_matching, LOGITS, None),
    "DecoupledKD": (L.DecoupledKD(4.0), decoupled_kd, LOGITS, labelled),
    "StandardizedLogits": (
        L.StandardizedLogits(L.SoftTargets(3.0)),
        lambda t, s: soft_targets(z_score(t), z_score(s)), LOGITS, None,
    ),
    "DIST": (L.DIST(2.0, inter_weight=0.7, intra_weight=1.3), dist, LOGITS, None),
    "LabelSmoothing": (L.LabelSmoothing(0.2), label_smoothing, LOGITS, labelled),
    "Contrastive": (
        L.Contrastive(num_examples=50, num_negatives=4), contrastive, LOGITS, None,
    ),
    "Hints": (L.Hints(), lambda t, s: ((s - t) ** 2).mean(-1), LOGITS, None),
    "AttentionTransfer": (L.AttentionTransfer(), attention_transfer, MAPS, None),
    "SimilarityPreserving": (L.SimilarityPreserving(), similarity_preserving, MAPS, None),
    "RelationalDistance": (L.RelationalDistance(), relational_distance, VECTORS, None),
    "RelationalAngle": (L.RelationalAngle(), relational_angle, VECTORS, None),
}  # fmt: skip

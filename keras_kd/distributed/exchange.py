"""What workers tell each other while they train: numbers, and who is gone."""

import contextlib
import hashlib

import numpy as np
import tensorflow as tf

from keras_kd.distributed.meeting import gone

# What TensorFlow raises on those who are left.
_ENDED = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.UnavailableError,
)


class Exchange:
    """All workers of a strategy, told and asked as one.

    Every worker must call a method that another calls, in the same order: each waits for all.

    Args:
        strategy: the `tf.distribute.MultiWorkerMirroredStrategy`.
        cluster: its `Cluster`.
    """

    def __init__(self, strategy, cluster):
        self.strategy, self.cluster = strategy, cluster
        self.num_local = strategy.num_replicas_in_sync // len(cluster)
        self._gather = tf.function(
            self._gathered, [tf.TensorSpec([1, None], tf.int64)], autograph=False
        )

    def _gathered(self, numbers):
        def of_all(own):
            # TensorFlow asks where it lies, and what comes from outside lies nowhere.
            own = tf.identity(own)
            return tf.distribute.get_replica_context().all_gather(own, axis=0)

        return self.strategy.run(of_all, args=(numbers,))

    def integers_of_all(self, integers):
        """Return the integers of every worker, `[workers, count]`.

        Args:
            integers: as many on each, of 64 bits.
        """
        own = np.array(integers, "int64").reshape(1, -1)
        if self.strategy.num_replicas_in_sync == 1:
            return own
        found = self.strategy.experimental_local_results(self._gather(tf.constant(own)))[0]
        return found.numpy()[:: self.num_local]

    def of_chief(self, logs):
        """Return the chief's numbers by name, in the place of this worker's."""
        names = sorted(logs)
        own = np.array([*map(logs.get, names)], "float64")
        found = self.integers_of_all(own.view("int64"))[0].view("float64")
        return dict(zip(names, found.tolist(), strict=True))

    def any(self, flag):
        """Return whether a flag is set on any worker."""
        return bool(self.integers_of_all([bool(flag)]).any())

    def check_same(self, what, texts, way_out):
        """Refuse what differs between workers, on all of them.

        Args:
            what: names, in a sentence.
            texts: of this worker, one a name, as text or bytes.
            way_out: what to do.

        Raises:
            ValueError: naming what differs, and on which worker.
        """
        found = self.integers_of_all([digest(each) for each in texts])
        for place, name in enumerate(what):
            for index in range(1, len(self.cluster)):
                if found[index, place] != found[0, place]:
                    raise ValueError(
                        f"Every worker must have the same {name}. Received: another on "
                        f"{self.cluster.named(index)} than on {self.cluster.named(0)}. {way_out}"
                    )

    @contextlib.contextmanager
    def together(self):
        """Let all workers end where one fails in what each does by itself.

        Raises:
            Exception: what this worker raised.
            ValueError: naming another one that did.
        """
        failure = None
        try:
            yield
        except _ENDED:
            raise
        except Exception as error:
            failure = error
        failed = self.integers_of_all([failure is not None])[:, 0]
        if failure is not None:
            raise failure
        if failed.any():
            where = self.cluster.named(int(failed.argmax()))
            raise ValueError(
                f"All workers end where one fails. Received: an error on {where}, which says what "
                "it is. Mend that, and start all again."
            )

    @contextlib.contextmanager
    def told(self, way_out):
        """Say who is gone where the others are waited for in vain.

        Args:
            way_out: a function that returns what to do.

        Raises:
            ConnectionError: naming the workers.
        """
        try:
            yield
        except _ENDED as error:
            if len(self.cluster) == 1:
                raise
            lost = [self.cluster.named(index) for index in gone(self.cluster)]
            who = ", ".join(lost) or "a worker that no longer answers"
            raise ConnectionError(
                f"All workers must stay until the end. Received: {who}, gone. {way_out()}"
            ) from error


def digest(*parts):
    """Return an integer of 64 bits that tells texts, bytes and arrays apart."""
    found = hashlib.blake2b(digest_size=8)
    for part in parts:
        if isinstance(part, str):
            part = part.encode()
        elif not isinstance(part, bytes):
            part = np.asarray(part)
            found.update(f"{part.dtype}{part.shape}".encode())
            part = part.tobytes()
        found.update(part)
    return int.from_bytes(found.digest(), "little", signed=True)

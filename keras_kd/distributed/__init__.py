"""One student over several machines, by TensorFlow's own MultiWorkerMirroredStrategy."""

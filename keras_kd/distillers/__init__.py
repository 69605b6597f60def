"""Keras models that train students: the step, and what differs between the distillers."""

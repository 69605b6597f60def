"""One training in a folder: what it was made of, its checkpoint, what it left, what is shown."""

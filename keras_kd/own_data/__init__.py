"""A teacher and data of one's own: distilled, measured, in one call."""

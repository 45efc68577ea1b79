"""Finished labels to look at: a page, a strip."""

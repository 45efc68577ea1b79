"""Loops compiled on the spot where the extra `fast` is installed, to the same bytes as plain torch gives."""

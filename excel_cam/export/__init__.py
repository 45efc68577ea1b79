"""Finished labels in the files that other trainers read."""

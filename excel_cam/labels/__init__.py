"""One folder of finished labels."""

"""Labels packed into shards: a tar of PNGs and an index of it, written, listed and read; no run, no model."""

"""Photographs by the thousand million: in webdataset's tars, or named by a manifest; a shard of them at a time."""

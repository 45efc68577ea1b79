"""Runs over photographs in shards: a shard is the unit of work, of commit and of going on."""

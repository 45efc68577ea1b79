"""Commands on labels in shards."""

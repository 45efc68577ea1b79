"""Commands on labels that many processes make: how far they are, and those in shards as files."""

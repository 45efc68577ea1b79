"""Labels in a few lines of Python: names in, pictures out, and every wrong input said in one line."""

"""One file on disk, read or written; knows no data set."""

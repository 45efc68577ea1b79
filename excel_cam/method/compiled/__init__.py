"""What is compiled on the spot where the extra `fast` is installed, instead of computed by plain torch."""

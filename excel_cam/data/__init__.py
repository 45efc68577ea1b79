"""What is to be labelled."""

"""Formats of the tools that people correct labels in, and of libraries that load them."""

"""What classes look like, in sentences."""

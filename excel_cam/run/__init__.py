"""From choices to labels."""

"""The paper, step by step: tensors in, tensors out."""

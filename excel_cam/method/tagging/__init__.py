"""The arithmetic of predicted tags: patch embeddings and text rows → a score per class (steps T.1 to T.6)."""

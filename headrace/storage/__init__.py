"""The file store: input, parts and results of batches."""

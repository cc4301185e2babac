"""One completion asked for: the `Job`, how it is built from a caller's words, and how it is tried again."""

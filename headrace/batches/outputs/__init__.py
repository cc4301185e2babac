"""The results of a batch: its output lines, the rows that are made of them in the order of its input, and the files and tables
that are written. How a worker keeps rows on the way stays outside."""

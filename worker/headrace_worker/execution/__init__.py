"""A record that was claimed is run: a job, a shard, the join of a batch. Each ends its record in one fenced move."""

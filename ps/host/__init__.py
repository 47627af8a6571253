"""What the process of a shard does around it: serve, seal, save, follow, take over."""

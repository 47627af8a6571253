"""The learning side: sources, batches, the trainer, progressive validation."""

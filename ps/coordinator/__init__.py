"""Who leads which shard, who reads which partition, and what is a restore point."""

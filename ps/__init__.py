"""The parameter server: tables, shards, blocks, and the client that routes to them."""

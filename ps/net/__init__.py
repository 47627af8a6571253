"""The data path between processes: pulls, pushes and blocks over gRPC."""

"""The demo: stream, training, sync, two replicas and real gRPC calls, in one process, in a minute."""

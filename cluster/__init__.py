"""Where the pieces meet: job files, the local runner, the trilith command."""

"""Sources: replayable streams of events, read from files or made up, with a position for each."""

"""Progressive validation: how good each prediction was, judged before the example was learned."""

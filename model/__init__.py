"""Features and models: what turns an event into a batch, and a batch into a probability."""

"""Built-in models with hand-written derivatives; the registry builds them from options."""

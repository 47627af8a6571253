"""The answering side: replicas that follow blocks, and the Predict service."""

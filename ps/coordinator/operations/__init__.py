"""What an operator has a job on many processes do, one module for each."""

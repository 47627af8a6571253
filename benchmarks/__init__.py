"""Side-by-side figures: each module prints a table and writes one flat JSON object of numbers."""

"""What is read out of records: rows, checks and statistics."""

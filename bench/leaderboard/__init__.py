"""Published numbers, verdicts, and the pages that are made of records."""

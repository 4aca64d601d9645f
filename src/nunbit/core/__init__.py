"""What every room may use: errors, texts, time, and the types of records and recordings."""

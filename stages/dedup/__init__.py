"""Keys of duplicates: which documents are copies of one another."""

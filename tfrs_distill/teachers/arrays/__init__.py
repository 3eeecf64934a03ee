"""What other programs computed, as arrays and files, made teachers."""

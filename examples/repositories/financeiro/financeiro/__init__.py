"""Finance: an account for each student."""

"""What evidence changes: pure functions from views to mandates."""

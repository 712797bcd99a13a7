"""What stands around calls: one module a subject."""

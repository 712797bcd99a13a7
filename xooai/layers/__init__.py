"""What stands around calls, the same on every side of them: one module a subject."""

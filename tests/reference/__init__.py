"""Slow, obvious twins of the compiled modules. Speed is no concern here; being plainly right is the
only one."""

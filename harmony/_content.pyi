# Only compiled modules use this one; from Python nothing of it can be seen.

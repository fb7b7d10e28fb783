"""Benchmarks of `harmony` against its peers. Start at README.md in this folder."""

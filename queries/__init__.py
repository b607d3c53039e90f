"""Reads, set statements and row locks: plain functions over a Session."""

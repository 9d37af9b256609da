"""Answers worth keeping: exact, semantic, and the flights that share one upstream call."""

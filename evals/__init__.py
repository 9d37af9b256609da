"""Which tier is good enough for which task, and how sure we are."""

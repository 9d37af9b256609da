"""Which tier answers a call, and the sentence that explains why."""

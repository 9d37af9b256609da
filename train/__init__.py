"""What the cache's verifier is trained with: labelled pairs, traps made by rule, and the training itself."""

"""Load tests of the gateway against a fast upstream that we control."""

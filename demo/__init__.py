"""The demo: real models on the CPU behind OpenAI-compatible servers, so that a first run needs no key."""

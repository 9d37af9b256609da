"""The door, the stair and the porter: HTTP, the pipeline, and the wiring of every room."""

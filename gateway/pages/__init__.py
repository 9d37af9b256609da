"""Pages: the dashboard, rendered on the server from the ledger; nothing changes state by GET."""

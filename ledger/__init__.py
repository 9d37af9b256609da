"""The books: prices, budgets, holds and the record of every request."""

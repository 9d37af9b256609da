"""What the books say: anomalies, forecasts, burn rates and the surprises of the field, as pure functions."""

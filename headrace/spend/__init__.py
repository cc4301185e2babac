"""What a call costs: prices of models, and the cost of an answer."""

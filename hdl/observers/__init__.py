"""What watches the rows go by: importance of tokens and heads."""

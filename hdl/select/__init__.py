"""Selection of the largest values: top-k engines and what they are made of."""

"""Pipeline stages: fetch, score, select, softmax, value select, prob·V, write."""

"""Golden models, traces of real models, benches and fast simulation."""

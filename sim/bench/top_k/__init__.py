"""The top-k engines on their generated Verilog: correctness, cycles, size.

As a command, ``python -m attnsieve.sim.bench.top_k`` with

- no option: mean cycles from the last value to the threshold, on random values;
- ``--real``: the same on softmax terms and importances of SmolLM2;
- ``--interval``: cycles per row of rows that follow one another;
- ``--campaign N``: N random rows and all adversarial kinds, with stalls, against the golden model;
- ``--size``: resources and clock.
"""

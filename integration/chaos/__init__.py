"""Everything goes wrong, and the router sees only what it must.

A ``World`` is a host with services of every kind and the truth about each; a ``Fault`` is one thing that goes wrong,
with what it may cause; a step injects and heals one or two of them and is then judged: by every UPDATE that reached
the router meanwhile, by its table, and by what is on the host. ``run.py`` does that at random, from a seed.
"""

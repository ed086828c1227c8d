"""Why a VIP is announced, or why not: facts in, an explanation out.

``facts.py`` says what is known, ``collect.py`` asks the parts for it, ``find.py`` says what a target is, ``cause.py``,
``chain.py`` and ``answer.py`` make the explanation of it. All but ``collect.py`` are pure.
"""

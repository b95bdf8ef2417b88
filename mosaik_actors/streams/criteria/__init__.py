"""Which items a consumer wants, said in a form that a producer can check.

`criteria` is what consumers write and what travels; `binding` checks it against the type of
the items; `judges` makes the functions that look at an item, and says what that may cost;
`budget` is who has used up how much time of a producer's.

Start with `criteria`. Imports no other room.
"""

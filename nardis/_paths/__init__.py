r"""
Paths: split, matched and built; no request in sight. The pattern syntax is Express 5's.

    /users/:id            one capture: at least one character, never a `/` of the path
    /:"user id"           a capture whose name is no identifier
    /files/*rest          a wildcard: one or more segments, given as a list
    /:file{.:ext}         what stands in braces is optional; braces nest
    /a\:b                 a backslash takes the next character as it is;
                          `( ) [ ] + ? ! < >` always need one

A path is a list of segments, each percent-decoded once (RFC 3986 §2.4: split first, decode
afterwards), so an encoded `/` stays inside its segment. Text in patterns is decoded as well:
`/a%20b` and `/a b` are the same pattern.

All captures are greedy, earlier ones first, exactly as in the regular expression
`^/([^/]+)-([^/]+)$`, but nothing here backtracks: every match takes time linear in the path. A
shape knows the place of each segment, and searches one with several captures from its right end.
Only wildcards can make places unknown. Then, from right to left, each capture learns how far it
may reach, and from left to right each is taken: one walk over the path for each capture.

`syntax` reads a pattern's text into forms. `pattern` cuts them into segments and keeps a shape
(`shapes`) for each. `index` finds the few patterns that a path can belong to.
"""

from __future__ import annotations

__all__: list[str] = []

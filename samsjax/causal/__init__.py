"""Directed graphs over variables: learning them without cycles, deciding on them, and scoring them.

Pure functions that know no model. `graph[i, j]` is 1 where variable i acts on variable j, so that column j lists the
parents of j; diagonals are 0.
"""

"""The schema's history. `pinfold migrate` runs it; `app.tables` is what it leads to.

A fleet is upgraded while it runs, so a migration either expands or contracts, and says which:

    breaks_before = None      expands: adds only, so that the versions before run on
    breaks_before = "0004"    contracts: takes away what only code older than 0004 used

`pinfold migrate` runs a contracting step only when no older process is left. Code must run before
and after the contracting steps of its own version, so it names nothing that they take away.
"""

"""The schema's history. `pinfold migrate` runs it; `app.tables` is what it leads to."""

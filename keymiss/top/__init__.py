"""What `keymiss top` shows: the servers' own figures, read twice, as rates and quantiles of the time between.

`reading` asks the servers, `figures` makes rows of two readings, `tables` says which columns there are,
`plain` writes them once, and `app` shows them live. Only `app` and what it shows import textual.
"""
